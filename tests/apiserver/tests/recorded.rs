//! The server answers as kube-apiserver 1.36.2 was recorded to (`recorded/`): the same codes, the same
//! Statuses, and JSON of the same shape.

use std::path::Path;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir_apiserver::{ApiServer, Fault, Resource, Verb};

/// A recorded exchange.
struct Recorded {
    /// The path and query of the request.
    target: String,
    code: u16,
    content_type: String,
    /// The JSON values of the body.
    values: Vec<Value>,
}

fn recorded(name: &str) -> Recorded {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("recorded").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let (request, answer) = text.split_once('\n').expect("a line with the request");
    let target = request.split_whitespace().skip_while(|word| *word != "GET").nth(1);
    let (code, content_type, values) = take_apart(answer);
    Recorded { target: target.expect("a path").to_owned(), code, content_type, values }
}

fn take_apart(answer: &str) -> (u16, String, Vec<Value>) {
    let answer = answer.replace("\r\n", "\n");
    let (head, body) = answer.split_once("\n\n").unwrap_or((&answer, ""));
    let code = head.split_whitespace().nth(1).and_then(|code| code.parse().ok());
    let header = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-type").then(|| value.to_owned())
    };
    let content_type = head.lines().find_map(header).expect("a content type");
    let values = serde_json::Deserializer::from_str(body).into_iter();
    let values = values.collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{error}: {body}"));
    (code.expect("a status"), content_type, values)
}

/// Asks the server, in HTTP/1.0, where an answer ends with its connection.
async fn ask(server: &ApiServer, target: &str) -> (u16, String, Vec<Value>) {
    let url = server.url();
    let address = url.strip_prefix("http://").expect("plain HTTP");
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = format!("GET {target} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers");
    take_apart(&answer)
}

/// What is the same in two answers of one shape: all but the scalars that count or are opaque.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let of = |(name, value): (&String, &Value)| match name.as_str() {
                "uid" | "resourceVersion" | "continue" | "creationTimestamp" => {
                    assert!(value.is_string(), "{name} is {value}");
                    (name.clone(), json!("…"))
                }
                "message" => {
                    let text = value.as_str().expect("a text");
                    let text = text.replace(|c: char| c.is_ascii_digit(), "");
                    (name.clone(), json!(text))
                }
                _ => (name.clone(), shape(value)),
            };
            Value::Object(fields.iter().map(of).collect())
        }
        Value::Array(items) => items.iter().map(shape).collect(),
        scalar => scalar.clone(),
    }
}

/// The objects of a recorded list or watch, as the server takes them.
fn objects(recorded: &Recorded) -> Vec<Value> {
    let of = |value: &Value| -> Vec<Value> {
        match value["kind"].as_str().and_then(|kind| kind.strip_suffix("List")) {
            Some(kind) => {
                let typed = |item: &Value| {
                    let mut item = item.clone();
                    item["kind"] = json!(kind);
                    item
                };
                value["items"].as_array().expect("items").iter().map(typed).collect()
            }
            None => vec![value["object"].clone()],
        }
    };
    let objects = recorded.values.iter().flat_map(of);
    objects.filter(|object| object["metadata"]["name"].is_string()).collect()
}

/// A server with the recorded Services.
fn with_services() -> ApiServer {
    let server = ApiServer::start();
    for page in ["services-list-page1.http", "services-list-page2.http"] {
        objects(&recorded(page)).into_iter().for_each(|object| server.apply(object));
    }
    server
}

async fn assert_same(server: &ApiServer, name: &str, target: &str) -> Vec<Value> {
    let recorded = recorded(name);
    let (code, content_type, values) = ask(server, target).await;
    assert_eq!((code, content_type), (recorded.code, recorded.content_type), "{name}");
    let shapes = |values: &[Value]| values.iter().map(shape).collect::<Vec<_>>();
    assert_eq!(shapes(&values), shapes(&recorded.values), "{name}");
    values
}

#[tokio::test]
async fn lists_are_alike() {
    let server = with_services();
    let first = recorded("services-list-page1.http").target;
    let page = assert_same(&server, "services-list-page1.http", &first).await;
    let token = page[0]["metadata"]["continue"].as_str().expect("there is more");
    // What has changed since does not get into a list that has begun.
    server.delete(Resource::Services, "default", "svc-4");
    let second = format!("{first}&continue={token}");
    assert_same(&server, "services-list-page2.http", &second).await;

    for name in ["servicecidrs-list.http", "node-list.http"] {
        let recorded = recorded(name);
        objects(&recorded).into_iter().for_each(|object| server.apply(object));
        assert_same(&server, name, &recorded.target).await;
    }
    let recorded = recorded("endpointslices-list-page1.http");
    for object in objects(&recorded) {
        let mut other = object.clone();
        other["metadata"]["name"] = json!("svc-9-a");
        server.apply(object);
        server.apply(other);
    }
    assert_same(&server, "endpointslices-list-page1.http", &recorded.target).await;
}

#[tokio::test]
async fn refusals_are_alike() {
    let server = with_services();
    for name in ["bad-field-selector.http", "services-list-bad-continue.http"] {
        assert_same(&server, name, &recorded(name).target).await;
    }
    for (name, fault) in [
        ("unauthorized.http", Fault::Unauthorized),
        ("forbidden-anonymous.http", Fault::Forbidden),
        ("services-watchlist-refused.http", Fault::RefuseWatchList),
    ] {
        let target = recorded(name).target;
        let verb = if target.contains("watch=1") { Verb::Watch } else { Verb::List };
        server.fail_once(Resource::Services, verb, fault);
        assert_same(&server, name, &target).await;
    }
    server.require_token("secret");
    let target = recorded("unauthorized.http").target;
    assert_same(&server, "unauthorized.http", &target).await;
}

/// Time is virtual: a watch ends when nothing else happens.
#[tokio::test(start_paused = true)]
async fn watches_are_alike() {
    let server = with_services();
    let streamed = recorded("services-watchlist-stream.http");
    let stream = objects(&streamed);
    stream.into_iter().for_each(|object| server.apply(object));
    let name = "services-watchlist-stream.http";
    assert_same(&server, name, &streamed.target).await;

    let version = server.version();
    let changes = recorded("services-watch.http");
    let [deleted, modified, unselected] =
        <[Value; 3]>::try_from(objects(&changes)).expect("three changes");
    for object in [&deleted, &unselected] {
        server.apply(object.clone());
    }
    let after = server.version();
    server.delete(Resource::Services, "default", "svc-4");
    server.apply(modified);
    let mut other = unselected;
    other["metadata"]["labels"] = json!({"service.kubernetes.io/service-proxy-name": "other"});
    server.apply(other);
    server.bookmark();
    server.bookmark();
    let target = changes.target.replace("=223", &format!("={after}"));
    assert_same(&server, "services-watch.http", &target).await;

    let silent = recorded("watch-too-large-version.http");
    assert_same(&server, "watch-too-large-version.http", &silent.target).await;
    server.compact();
    let old = recorded("watch-too-old-410.http").target.replace("=223", &format!("={version}"));
    assert_same(&server, "watch-too-old-410.http", &old).await;

    let slices = recorded("endpointslices-watch.http");
    let slice = objects(&slices).remove(0);
    server.apply(slice.clone());
    let version = server.version();
    server.apply(slice);
    server.bookmark();
    let target = slices.target.replace("=223", &format!("={version}"));
    assert_same(&server, "endpointslices-watch.http", &target).await;
}
