//! The latency of changes against the number of Services, as a picture in SVG. Both axes are
//! logarithmic: what grows with the number of Services rises as a straight line.

use std::fmt::Write as _;

use crate::figures::{Figure, change};
use crate::summary::Unit;
use crate::workload::Shape;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
/// Around the plot: for the names of values on the left, and for those of lines on the right.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 230.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 50.0;

/// What is drawn of one kind of change.
struct Line {
    name: &'static str,
    colour: &'static str,
    is_dashed: bool,
    /// Services and seconds, by the number of Services.
    points: Vec<(f64, f64)>,
}

/// From a range of values to one of places, by powers of ten.
struct Axis {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Axis {
    fn new(values: impl Iterator<Item = f64> + Clone, start: f64, end: f64) -> Self {
        let from = values.clone().fold(f64::INFINITY, f64::min).log10();
        let to = values.fold(0.0, f64::max).log10();
        Self { from, to, start, end }
    }

    /// The same from a power of ten to one.
    fn whole(self) -> Self {
        Self { from: self.from.floor(), to: self.to.ceil(), ..self }
    }

    fn place(&self, value: f64) -> f64 {
        let part = (value.log10() - self.from) / (self.to - self.from).max(f64::EPSILON);
        self.start + part * (self.end - self.start)
    }
}

/// The picture; `None` where changes were measured of fewer than two numbers of Services.
pub(crate) fn change_latency(figures: &[Figure]) -> Option<String> {
    let lines = lines(figures);
    let mut shapes: Vec<Shape> = figures.iter().map(|figure| figure.shape).collect();
    shapes.sort_by_key(|shape| shape.services);
    shapes.dedup_by_key(|shape| shape.services);
    if shapes.len() < 2 || lines.is_empty() {
        return None;
    }
    let services = shapes.iter().map(|shape| f64::from(shape.services));
    let x = Axis::new(services, LEFT + 30.0, WIDTH - RIGHT);
    let seconds = lines.iter().flat_map(|line| line.points.iter().map(|point| point.1));
    let y = Axis::new(seconds, HEIGHT - BOTTOM, TOP).whole();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
    );
    push_scales(&mut svg, &x, &y, &shapes);
    for line in &lines {
        push_line(&mut svg, &x, &y, line);
    }
    push_names(&mut svg, &y, &lines);
    svg.push_str("</svg>\n");
    Some(svg)
}

fn lines(figures: &[Figure]) -> Vec<Line> {
    let line = |what: &str, name, colour, is_dashed, value: &dyn Fn(&Figure) -> Option<f64>| {
        let of_it = figures.iter().filter(|figure| figure.what == what);
        let mut points: Vec<(f64, f64)> = of_it
            .filter_map(|figure| Some((f64::from(figure.shape.services), value(figure)?)))
            .filter(|point| point.1 > 0.0)
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Line { name, colour, is_dashed, points }
    };
    let median = |figure: &Figure| Some(figure.sample.median());
    let kernel = |figure: &Figure| figure.share.value();
    let lines = [
        line(change::COUNTED, "number of endpoints changed", "#c0392b", false, &median),
        line(change::COUNTED, "the kernel alone for that", "#c0392b", true, &kernel),
        line(change::REPLACED, "an endpoint replaced", "#1f5fa8", false, &median),
        line(change::REPLACED, "the kernel alone for that", "#1f5fa8", true, &kernel),
    ];
    lines.into_iter().filter(|line| !line.points.is_empty()).collect()
}

fn push_scales(svg: &mut String, x: &Axis, y: &Axis, shapes: &[Shape]) {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for power in y.from as i32..=y.to as i32 {
        let seconds = 10_f64.powi(power);
        let (at, value) = (y.place(seconds), show_power(seconds));
        let _ = write!(
            svg,
            "<line x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\n\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>\n",
            LEFT - 8.0,
            at + 4.0,
        );
    }
    for shape in shapes {
        let at = x.place(f64::from(shape.services));
        let _ = write!(
            svg,
            "<line x1=\"{at:.1}\" y1=\"{bottom}\" x2=\"{at:.1}\" y2=\"{}\" stroke=\"#333\"/>\n\
             <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{shape}</text>\n",
            bottom + 5.0,
            bottom + 19.0,
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">Services x endpoints</text>",
        (LEFT + right) / 2.0,
        HEIGHT - 10.0
    );
}

/// A power of ten as a time without a fraction.
fn show_power(seconds: f64) -> String {
    let text = Unit::Time.show(seconds * 1.000_001);
    let (number, unit) = text.split_once(' ').expect("a number and a unit");
    format!("{} {unit}", number.split('.').next().expect("a number"))
}

fn push_line(svg: &mut String, x: &Axis, y: &Axis, line: &Line) {
    let place = |point: &(f64, f64)| format!("{:.1},{:.1}", x.place(point.0), y.place(point.1));
    let places: Vec<String> = line.points.iter().map(place).collect();
    let dashes = if line.is_dashed { " stroke-dasharray=\"5 4\"" } else { "" };
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"{dashes}/>",
        places.join(" "),
        line.colour
    );
    for (services, seconds) in &line.points {
        let _ = writeln!(
            svg,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{}\"/>",
            x.place(*services),
            y.place(*seconds),
            line.colour
        );
    }
}

/// The lines' names at their ends, none over another.
fn push_names(svg: &mut String, y: &Axis, lines: &[Line]) {
    let end = |line: &Line| y.place(line.points.last().expect("no line is empty").1);
    let mut ends: Vec<(f64, &Line)> = lines.iter().map(|line| (end(line), line)).collect();
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut lowest = 0.0;
    for (at, line) in ends {
        let at = f64::max(at + 4.0, lowest);
        lowest = at + 15.0;
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{at:.1}\" fill=\"{}\">{}</text>",
            WIDTH - RIGHT + 12.0,
            line.colour,
            line.name
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Share;
    use crate::summary::Sample;
    use crate::workload::Shape;

    fn figure(services: u32, seconds: f64) -> Figure {
        let shape = Shape { services, endpoints: 10 };
        let sample = Sample::one(Unit::Time, seconds);
        Figure::new(change::REPLACED, shape, sample).share(Share::Known(1e-4))
    }

    #[test]
    fn a_value_ten_times_as_large_is_one_step_of_the_scale_higher() {
        let svg = change_latency(&[figure(1000, 1e-3), figure(10_000, 1e-2)]).expect("a picture");
        // From 100 µs to 10 ms are two steps of 175 each.
        let line = "<polyline points=\"100.0,195.0 530.0,20.0\" fill=\"none\" stroke=\"#1f5fa8\"";
        assert!(svg.contains(line), "{svg}");
        for text in
            [">100 µs<", ">1 ms<", ">10 ms<", ">1,000 x 10<", ">10,000 x 10<", "stroke-dasharray"]
        {
            assert!(svg.contains(text), "{text} in {svg}");
        }
    }

    #[test]
    fn one_number_of_services_is_no_picture() {
        assert_eq!(change_latency(&[figure(1000, 1e-3)]), None);
        assert_eq!(change_latency(&[]), None);
    }
}
