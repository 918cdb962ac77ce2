//! Tabulates criterion's measurements of parts of the code.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::summary::{Sample, Unit};

/// Criterion's folder for what was measured last.
const LAST: &str = "new";

/// A table of all that is in criterion's folder, by name.
///
/// # Errors
/// If there is nothing, or something cannot be read.
pub(crate) fn table(folder: &Path) -> Result<String, String> {
    let mut rows = Vec::new();
    for measured in folders(folder)? {
        rows.push((full_name(&measured)?, sample(&measured)?));
    }
    if rows.is_empty() {
        return Err(format!("{}: nothing has been measured", folder.display()));
    }
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    let mut text = "| part | median | p10 to p90 | samples |\n|---|---|---|---|\n".to_owned();
    for (name, sample) in rows {
        let (p10, p90, count) = (sample.show(10), sample.show(90), sample.count());
        let _ = writeln!(text, "| {name} | {} | {p10} to {p90} | {count} |", sample.show(50));
    }
    Ok(text)
}

/// The folders of all that was measured, at any depth.
fn folders(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let show = |error| format!("{}: {error}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(show)? {
        let path = entry.map_err(show)?.path();
        if path.file_name().is_some_and(|name| name == LAST) {
            found.push(path);
        } else if path.is_dir() {
            found.extend(folders(&path)?);
        }
    }
    Ok(found)
}

/// `group/what/how much` of `benchmark.json`.
fn full_name(measured: &Path) -> Result<String, String> {
    let path = measured.join("benchmark.json");
    let name = read(&path)?["full_id"].as_str().map(|name| name.replace('/', ": "));
    name.ok_or_else(|| format!("{}: no full_id", path.display()))
}

/// `sample.json`: how often something was done, and how many nanoseconds that took, in two lists.
fn sample(measured: &Path) -> Result<Sample, String> {
    let path = measured.join("sample.json");
    let sample = read(&path)?;
    let numbers = |name: &str| {
        let list = sample[name].as_array().into_iter().flatten();
        list.map(|number| number.as_f64().unwrap_or(f64::NAN)).collect::<Vec<_>>()
    };
    let (times, iterations) = (numbers("times"), numbers("iters"));
    let each = times.iter().zip(&iterations).map(|(time, times)| time / times / 1e9);
    let each: Vec<f64> = each.filter(|seconds| seconds.is_finite()).collect();
    if each.is_empty() || each.len() != times.len() {
        return Err(format!("{}: no times and iters", path.display()));
    }
    Ok(Sample::new(Unit::Time, each))
}

fn read(path: &Path) -> Result<Value, String> {
    let show = |error: String| format!("{}: {error}", path.display());
    let text = fs::read_to_string(path).map_err(|error| show(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| show(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_of_the_samples_of_each_part() {
        let folder = tempfile::tempdir().unwrap();
        assert!(table(folder.path()).unwrap_err().ends_with("nothing has been measured"));
        let put = |name: &str, sample: &str| {
            let measured = folder.path().join(name).join(LAST);
            fs::create_dir_all(&measured).unwrap();
            let benchmark = format!(r#"{{"full_id":"{name}"}}"#);
            fs::write(measured.join("benchmark.json"), benchmark).unwrap();
            fs::write(measured.join("sample.json"), sample).unwrap();
        };
        put("diff/one", r#"{"iters":[1.0,2.0,4.0],"times":[3000.0,4000.0,4000.0]}"#);
        put("compile/a/10", r#"{"iters":[1.0],"times":[2000000.0]}"#);
        let rows = "| compile: a: 10 | 2.00 ms | 2.00 ms to 2.00 ms | 1 |\n\
                    | diff: one | 2.0 µs | 1.0 µs to 3.0 µs | 3 |\n";
        let text = table(folder.path()).unwrap();
        assert!(text.ends_with(rows), "{text}");
        put("bad", r#"{"iters":[],"times":[1.0]}"#);
        assert!(table(folder.path()).unwrap_err().contains("bad/new/sample.json"));
    }
}
