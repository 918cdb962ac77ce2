//! Reports of repairs, in the log and as Events.

use weir_apiserver::ApiServer;

use super::super::events::Events;
use super::*;
use crate::config::Limits;
use crate::kernel::{ForeignCommit, Suspects};
use crate::source::api::{ApiClient, ClientSource};

fn foreign(names: &[&str], pid: u32) -> ForeignChanges {
    let commit = |name: &&str| ForeignCommit {
        by: Some(Process { pid, name: (*name).to_owned() }),
        changed: Suspects::default(),
    };
    ForeignChanges { commits: names.iter().map(commit).collect(), ..ForeignChanges::default() }
}

#[test]
fn everybody_is_named_once() {
    let mut others = ForeignWriters::default();
    others.foreign(&foreign(&["nft", "firewalld", "nft"], 7));
    let text = "firewalld (pid 7), nft (pid 7) have changed weir's tables; weir has restored them";
    assert_eq!(others.text(None), text);
    let text =
        "firewalld, nft keep changing weir's tables: until that ends, weir repairs them ever later";
    assert_eq!(others.note(true), text);
    others.forget();
    let text = "somebody else has changed weir's tables; weir has restored them";
    assert_eq!([others.text(None), others.note(false)], [text, text]);
}

#[test]
fn of_many_some_are_named() {
    let mut others = ForeignWriters::default();
    (1..=20).for_each(|pid| others.foreign(&foreign(&["nft"], pid)));
    let text = others.text(None);
    assert!(text.contains("nft (pid 8), others have changed"), "{text}");
    assert!(!text.contains("(pid 9)"), "{text}");
    assert!(others.note(false).starts_with("nft has changed"), "{}", others.note(false));
}

#[test]
fn a_pause_is_told() {
    let mut others = ForeignWriters::default();
    others.foreign(&foreign(&["nft"], 7));
    let text = others.text(Some(Duration::from_secs(4)));
    assert!(
        text.starts_with("nft (pid 7) has changed") && text.ends_with("only 4 s later"),
        "{text}"
    );
}

/// As from a tool that is started anew each time: the log names each process, but an API server that
/// took an Event for each would be flooded by all nodes.
#[tokio::test(start_paused = true)]
async fn fifty_repairs_are_two_events() {
    let server = ApiServer::start();
    let access = ClientSource::Master(server.url());
    let client = ApiClient::new(access, Limits::default()).await.expect("a client");
    let events = Events::start(client, "node-a");
    let mut others = ForeignWriters::default();
    for repair in 0..50 {
        let pause = Some(Duration::from_secs(repair)).filter(|_| repair >= 4);
        others.foreign(&foreign(&["nft"], 1000 + repair as u32));
        events.repaired(&others.note(pause.is_some()));
        others.forget();
    }
    // They are sent in order, so that behind this one nothing is left.
    events.started();
    server.wait_for_events(3).await;
    let notes: Vec<_> = server.events().iter().map(|event| event["note"].clone()).collect();
    assert_eq!(notes[0], "nft has changed weir's tables; weir has restored them");
    assert!(notes[1].as_str().is_some_and(|note| note.contains("ever later")), "{notes:?}");
    assert_eq!(server.events()[2]["reason"], "Starting");
}
