//! Bar charts as SVG: few shapes, nothing to load, readable on light and dark pages.

use std::fmt::Write as _;

use super::super::model::Side;

const WIDTH: f64 = 760.0;
/// Room for labels, and more where one is longer than that.
const LABELS: f64 = 215.0;
/// What a character of a label takes at most, on average.
const CHARACTER: f64 = 6.6;
const VALUES: f64 = 120.0;
const BAR: f64 = 20.0;
const GAP: f64 = 6.0;
const GROUP_GAP: f64 = 16.0;
const TOP: f64 = 62.0;
const BOTTOM: f64 = 44.0;
const FONT: &str =
    "font-family=\"system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif\"";

/// Bars that belong together, under a heading.
pub(super) struct Group {
    pub(super) heading: String,
    pub(super) bars: Vec<Bar>,
}

pub(super) struct Bar {
    pub(super) label: String,
    pub(super) side: Side,
    pub(super) value: f64,
    /// Least and most, as a thin line.
    pub(super) spread: Option<(f64, f64)>,
    /// What is written behind it.
    pub(super) text: String,
}

/// A chart of horizontal bars.
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) subtitle: String,
    pub(super) axis: String,
    pub(super) groups: Vec<Group>,
}

impl Chart {
    pub(super) fn render(&self) -> String {
        let bars: usize = self.groups.iter().map(|group| group.bars.len()).sum();
        let headings = self.groups.iter().filter(|group| !group.heading.is_empty()).count();
        let body = bars as f64 * (BAR + GAP) + headings as f64 * 22.0 + self.groups.len() as f64 * GROUP_GAP;
        let height = TOP + body + BOTTOM;
        let most = self
            .groups
            .iter()
            .flat_map(|group| &group.bars)
            .map(|bar| bar.spread.map_or(bar.value, |(_, most)| most.max(bar.value)))
            .fold(0.0, f64::max);
        let step = nice_step(most);
        let end = (most / step).ceil().max(1.0) * step;
        let left = self.labels();
        let scale = (WIDTH - left - VALUES) / end;

        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\" role=\"img\" aria-label=\"{}\" {FONT}>\n",
            escape(&self.title)
        );
        // Writing to a string cannot fail.
        let _ = writeln!(
            svg,
            "<rect width=\"{WIDTH}\" height=\"{height}\" rx=\"8\" fill=\"#ffffff\"/>\n\
             <text x=\"20\" y=\"28\" font-size=\"17\" font-weight=\"600\" fill=\"#1b2430\">{}</text>\n\
             <text x=\"20\" y=\"47\" font-size=\"12\" fill=\"#5b6776\">{}</text>",
            escape(&self.title),
            escape(&self.subtitle)
        );
        self.grid(&mut svg, (step, end), (left, scale), height);
        let mut y = TOP + GROUP_GAP / 2.0;
        for group in &self.groups {
            if !group.heading.is_empty() {
                let _ = writeln!(
                    svg,
                    "<text x=\"20\" y=\"{:.1}\" font-size=\"13\" font-weight=\"600\" fill=\"#1b2430\">{}</text>",
                    y + 14.0,
                    escape(&group.heading)
                );
                y += 22.0;
            }
            for bar in &group.bars {
                bar.render(&mut svg, y, (left, scale));
                y += BAR + GAP;
            }
            y += GROUP_GAP;
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn labels(&self) -> f64 {
        let bars = self.groups.iter().flat_map(|group| &group.bars);
        let longest = bars.map(|bar| bar.label.chars().count()).max().unwrap_or(0);
        LABELS.max(longest as f64 * CHARACTER + 20.0)
    }

    fn grid(&self, svg: &mut String, (step, end): (f64, f64), (left, scale): (f64, f64), height: f64) {
        let bottom = height - BOTTOM;
        let mut at = 0.0;
        while at <= end + step / 2.0 {
            let x = left + at * scale;
            let _ = writeln!(
                svg,
                "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\" stroke=\"#e3e8ee\"/>\n\
                 <text x=\"{x:.1}\" y=\"{:.1}\" font-size=\"11\" fill=\"#5b6776\" text-anchor=\"middle\">{}</text>",
                bottom + 15.0,
                number(at, step)
            );
            at += step;
        }
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"11\" fill=\"#5b6776\" text-anchor=\"middle\">{}</text>",
            left + end * scale / 2.0,
            bottom + 33.0,
            escape(&self.axis)
        );
    }
}

impl Bar {
    fn render(&self, svg: &mut String, y: f64, (left, scale): (f64, f64)) {
        let color = match self.side {
            Side::Floor => "#9aa5b1",
            Side::Ours => "#1f7a8c",
            Side::Peer => "#d9822b",
        };
        let (width, middle) = (self.value * scale, y + BAR / 2.0);
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"12\" fill=\"#1b2430\" text-anchor=\"end\">{}</text>\n\
             <rect x=\"{left}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"2\" fill=\"{color}\"/>",
            left - 10.0,
            middle + 4.0,
            escape(&self.label)
        );
        let mut end = left + width;
        if let Some((least, most)) = self.spread.filter(|(least, most)| (most - least) * scale > 1.0) {
            let (from, to) = (left + least * scale, left + most * scale);
            let _ = writeln!(
                svg,
                "<path d=\"M{from:.1} {middle:.1}H{to:.1}M{from:.1} {:.1}v8M{to:.1} {:.1}v8\" stroke=\"#1b2430\" \
                 stroke-opacity=\"0.55\" fill=\"none\"/>",
                middle - 4.0,
                middle - 4.0
            );
            end = end.max(to);
        }
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"12\" fill=\"#1b2430\">{}</text>",
            end + 7.0,
            middle + 4.0,
            escape(&self.text)
        );
    }
}

/// A step of 1, 2 or 5 times a power of ten that cuts the axis into about five.
fn nice_step(most: f64) -> f64 {
    if most <= 0.0 {
        return 1.0;
    }
    let rough = most / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough)
        .unwrap_or(rough)
}

fn number(value: f64, step: f64) -> String {
    let digits = if step >= 1.0 { 0 } else { (-step.log10().floor()) as usize };
    format!("{value:.digits$}")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_is_cut_at_round_numbers() {
        for (most, step) in [(333.0, 100.0), (9.0, 2.0), (1.0, 0.2), (0.0, 1.0), (26.0, 10.0)] {
            assert!((nice_step(most) - step).abs() < 1e-9, "{most}");
        }
        assert_eq!(number(0.4, 0.2), "0.4");
        assert_eq!(number(400.0, 200.0), "400");
    }

    #[test]
    fn a_chart_is_well_formed_and_says_what_it_was_told() {
        let bar = Bar {
            label: "a <b>".to_owned(),
            side: Side::Ours,
            value: 3.0,
            spread: Some((2.0, 4.0)),
            text: "3 & more".to_owned(),
        };
        let groups = vec![Group { heading: "one".to_owned(), bars: vec![bar] }];
        let chart = Chart { title: "T".to_owned(), subtitle: String::new(), axis: "ns".to_owned(), groups };
        let svg = chart.render();
        assert!(svg.contains("a &lt;b&gt;") && svg.contains("3 &amp; more") && svg.ends_with("</svg>\n"));
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    }
}
