//! The figures as Markdown.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::figures::{Figure, Share, steady};
use crate::summary::{Sample, Unit};

/// How memory grows with endpoints, from the size with the fewest to each other.
pub(crate) fn growth(figures: &[Figure]) -> Vec<Figure> {
    let mut sizes: Vec<_> = figures.iter().filter(|of| of.what == steady::MEMORY).collect();
    let endpoints = |of: &Figure| f64::from(of.shape.services * of.shape.endpoints);
    sizes.sort_by(|a, b| endpoints(a).total_cmp(&endpoints(b)));
    let Some((least, others)) = sizes.split_first() else { return Vec::new() };
    let of = |more: &&Figure| {
        let each = |of: f64, less: f64| (of - less) / (endpoints(more) - endpoints(least));
        let own = each(more.sample.median(), least.sample.median());
        let kernel = more.share.value().zip(least.share.value());
        let what = format!("memory for each endpoint more than in {}", least.shape);
        Figure::new(what, more.shape, Sample::one(Unit::Memory, own))
            .budget("400 B")
            .share(kernel.map_or(Share::None, |(of, less)| Share::Known(each(of, less))))
    };
    others.iter().map(of).collect()
}

/// A table, with a line on the machine in front.
pub(crate) fn table(figures: &[Figure]) -> String {
    let mut text = format!("{}\n\n", machine());
    text.push_str("| Services x endpoints | | median | p10 to p90 | p99 | runs | budget ");
    text.push_str("| kernel alone | ratio |\n|---|---|---|---|---|---|---|---|---|\n");
    for Figure { what, shape, sample, budget, share } in figures {
        let is_one = sample.count() == 1;
        let spread = match is_one {
            true => String::new(),
            false => format!("{} to {}", sample.show(10), sample.show(90)),
        };
        // Of fewer than a hundred the last per cent is the worst of all.
        let p99 = if sample.count() < 100 { String::new() } else { sample.show(99) };
        let kernel = share.value().filter(|kernel| *kernel > 0.0);
        let kernel_text = kernel.map_or(String::new(), |kernel| sample.unit().show(kernel));
        let ratio = kernel.map_or(String::new(), |it| show_ratio(sample.median() / it));
        let _ = writeln!(
            text,
            "| {shape} | {what} | {} | {spread} | {p99} | {} | {budget} | {kernel_text} | {ratio} |",
            sample.show(50),
            sample.count(),
        );
    }
    text
}

fn show_ratio(ratio: f64) -> String {
    if ratio < 100.0 { format!("{ratio:.1}") } else { format!("{ratio:.0}") }
}

/// Kernel, processor and number of cores.
fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    format!("Kernel {}, {cores} cores of {model}.", kernel.trim())
}

/// Puts text into a page in the place of what is between the two markers of this name.
///
/// # Errors
/// If the page cannot be read or written, or lacks the markers.
pub(crate) fn put(page: &Path, name: &str, text: &str) -> Result<(), String> {
    let show = |error| format!("{}: {error}", page.display());
    let old = fs::read_to_string(page).map_err(|error| show(error.to_string()))?;
    let new = replaced(&old, name, text).ok_or_else(|| {
        show(format!("there is no pair of lines `{}` and `{}`", begin(name), end(name)))
    })?;
    fs::write(page, new).map_err(|error| show(error.to_string()))
}

fn begin(name: &str) -> String {
    format!("<!-- {name}: begin -->")
}

fn end(name: &str) -> String {
    format!("<!-- {name}: end -->")
}

fn replaced(page: &str, name: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(&begin(name))?;
    let (_, after) = rest.split_once(&end(name))?;
    Some(format!("{before}{}\n{}\n{}{after}", begin(name), text.trim_end(), end(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Shape;

    #[test]
    fn only_what_is_between_the_markers_is_replaced() {
        let page = "a\n<!-- x: begin -->\nold\n<!-- x: end -->\n<!-- y: begin --><!-- y: end -->\n";
        let new = replaced(page, "x", "new\n\n").expect("it has markers");
        let wanted =
            "a\n<!-- x: begin -->\nnew\n<!-- x: end -->\n<!-- y: begin --><!-- y: end -->\n";
        assert_eq!(new, wanted);
        assert_eq!(replaced(&new, "x", "new").expect("it has markers"), wanted);
        assert_eq!(replaced(page, "z", "new"), None);
    }

    #[test]
    fn growth_is_told_by_the_endpoint() {
        let of = |services, bytes| {
            let shape = Shape { services, endpoints: 10 };
            Figure::new(steady::MEMORY, shape, Sample::one(Unit::Memory, bytes))
        };
        let growth = growth(&[of(10_000, 46e6), of(1000, 10e6)]);
        assert_eq!(growth.len(), 1);
        assert_eq!(growth[0].sample.median(), 400.0);
        assert_eq!(growth[0].shape.services, 10_000);
    }

    #[test]
    fn a_row_holds_the_ratio_to_the_kernel() {
        let shape = Shape { services: 1000, endpoints: 10 };
        let figure =
            Figure::new("it", shape, Sample::one(Unit::Time, 0.002)).share(Share::Known(0.001));
        let table = table(&[figure.budget("1 s")]);
        let row = "| 1,000 x 10 | it | 2.00 ms |  |  | 1 | 1 s | 1.00 ms | 2.0 |";
        assert!(table.contains(row), "{table}");
    }
}
