//! weir-bench: what weir takes, end to end, against what the kernel takes for the same.
//!
//! `weir-bench WEIR [PAGE [CRITERION]]` runs the program WEIR in a network namespace, against an API
//! server in this process, measures, and prints tables; with PAGE, a Markdown file, it puts them there
//! between markers, and a picture beside the page. CRITERION is a folder in which criterion has put what
//! it has measured; that becomes a table, too. Where KUBE_PROXY, KUBE_APISERVER and ETCD name programs,
//! it prints some figures of kube-proxy, and of weir with the same server. [`options`] tells how to
//! choose what is measured. `make bench` does all this.

#![allow(
    clippy::disallowed_methods,
    reason = "what is waited for here lives by the clock of the machine"
)]
#![forbid(unsafe_code)]

mod client;
mod cluster;
mod code;
mod commits;
mod dump;
mod figures;
mod netlink;
mod node;
mod options;
mod pair;
mod path;
mod plot;
mod proxy;
mod report;
mod summary;
mod turn;
mod usage;
mod workload;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use figures::kernel::Floor;
use figures::{Figure, change, load, recovery, start, steady};
use node::Node;
use options::Options;
use workload::{Endpoints, Shape};

/// The picture's name, beside the page.
const PICTURE: &str = "change-latency.svg";
/// How long a rate of changes is kept up.
const RATE_TIME: Duration = Duration::from_secs(60);
/// How long nothing happens.
const IDLE_TIME: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (weir, page, criterion) = match arguments.as_slice() {
        [weir] => (weir, None, None),
        [weir, page] => (weir, Some(page), None),
        [weir, page, criterion] => (weir, Some(page), Some(criterion)),
        _ => {
            eprintln!("weir-bench WEIR [PAGE [CRITERION]]");
            return ExitCode::from(2);
        }
    };
    let code = match criterion.map(|folder| code::table(Path::new(folder))).transpose() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("weir-bench: {error}");
            return ExitCode::FAILURE;
        }
    };
    let options = match Options::from_environment() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("weir-bench: {error}");
            return ExitCode::from(2);
        }
    };
    let mut figures = Vec::new();
    let sizes = options.sizes();
    for &shape in sizes.iter().filter(|shape| options.measures_node(**shape)) {
        eprintln!("{shape}:");
        figures.extend(measure(weir, shape, &options));
    }
    figures.extend(report::growth(&figures));
    let mut sections = Vec::new();
    if !figures.is_empty() {
        sections.push(("end-to-end", report::table(&figures)));
    }
    if options.measures_path() {
        sections.push(("path", path::measure(&options.path_sizes())));
    }
    sections.extend(code.map(|table| ("code", table)));
    let picture = plot::change_latency(&figures);
    match tell(&sections, picture, page.map(Path::new)) {
        Ok(()) => {}
        Err(error) => {
            eprintln!("weir-bench: {error}");
            return ExitCode::FAILURE;
        }
    }
    if let Some(kube_proxy) = pair::kube_proxy() {
        let figures = sizes.iter().flat_map(|&shape| {
            eprintln!("with kube-apiserver, {shape}:");
            pair::measure(kube_proxy.clone(), weir.into(), shape)
        });
        println!("{}", report::table(&figures.collect::<Vec<_>>()));
    }
    ExitCode::SUCCESS
}

/// Prints the sections, and puts them into the page and the picture beside it, if there is a page.
fn tell(
    sections: &[(&str, String)],
    picture: Option<String>,
    page: Option<&Path>,
) -> Result<(), String> {
    for (name, text) in sections {
        println!("{text}");
        if let Some(page) = page {
            report::put(page, name, text)?;
        }
    }
    if let (Some(page), Some(picture)) = (page, picture) {
        let path = page.with_file_name(PICTURE);
        fs::write(&path, picture).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// All figures of one size.
fn measure(weir: &str, shape: Shape, options: &Options) -> Vec<Figure> {
    let mut node = Node::new(weir.into(), shape);
    let mut new = Endpoints::new(shape);
    let mut figures = Vec::new();
    let mut add = |new: Vec<Figure>| {
        new.iter().for_each(|figure| eprintln!("  {}: {}", figure.what, figure.sample));
        figures.extend(new);
    };
    let is_wanted = |part| options.measures(part, shape);
    let (runs, effort) = (options.runs(shape), options.effort(shape));
    if is_wanted("start") {
        add(start::measure(&mut node, runs));
    } else {
        node.start_and_wait();
    }
    if is_wanted("change") {
        add(change::measure(&node, &mut new, effort));
    }
    if is_wanted("packet") {
        add(change::measure_packets(&node, effort));
    }
    if is_wanted("burst") {
        add(load::measure_bursts(&node, &mut new));
    }
    if is_wanted("rate") {
        add(load::measure_rate(&mut node, &mut new, RATE_TIME));
    }
    if is_wanted("memory") {
        add(vec![steady::measure_memory(&mut node)]);
    }
    if is_wanted("idle") {
        add(vec![steady::measure_idle(&mut node, IDLE_TIME)]);
    }
    if is_wanted("drift") {
        add(recovery::measure_drift(&mut node, runs));
    }
    if is_wanted("restart") {
        add(recovery::measure_restarts(&mut node, runs));
    }
    node.stop();
    if is_wanted("kernel") {
        Floor::measure(&node, &mut new).tell(&mut figures);
    }
    if shape != options::MAIN {
        figures.iter_mut().for_each(|figure| figure.budget = "");
    }
    figures
}
