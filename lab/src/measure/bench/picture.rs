// SPDX-License-Identifier: GPL-2.0
//! A figure, drawn as SVG and as PNG, with fonts that the lab brings along: it looks the same wherever
//! it is drawn.

use std::path::Path;
use std::sync::Once;

use anyhow::{anyhow, Result};
use plotters::coord::types::RangedCoordf64;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::measure::bench::figure::{Chart, Figure, Panel, Spread};

/// Sizes of an SVG, in pixels.
const WIDTH: u32 = 1000;
/// Of a panel, and of what stands above all.
const HEIGHT: u32 = 330;
const HEAD: u32 = 44;

/// A PNG has so many pixels for one of an SVG's: letters are placed at whole pixels.
const PNG_SCALE: u32 = 2;

/// Colours that people with any kind of sight tell apart, by Okabe and Ito; none is the axes' black.
const COLOURS: [RGBColor; 8] = [
    RGBColor(40, 40, 40),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(204, 121, 167),
    RGBColor(150, 150, 150),
];

fn colour(i: usize) -> RGBColor {
    COLOURS[i % COLOURS.len()]
}

const FONT: &str = "sans-serif";

fn fonts() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let font = epaint_default_fonts::UBUNTU_LIGHT;
        assert!(
            register_font(FONT, FontStyle::Normal, font).is_ok(),
            "it is a font"
        );
    });
}

fn size(figure: &Figure) -> (u32, u32) {
    (WIDTH, HEAD + HEIGHT * figure.panels.len() as u32)
}

pub fn svg(figure: &Figure) -> Result<String> {
    let mut text = String::new();
    let area = SVGBackend::with_string(&mut text, size(figure)).into_drawing_area();
    draw(area, figure, Pen { scale: 1 })?;
    Ok(text)
}

pub fn png(figure: &Figure, path: &Path) -> Result<()> {
    let (width, height) = size(figure);
    let size = (width * PNG_SCALE, height * PNG_SCALE);
    let area = BitMapBackend::new(path, size).into_drawing_area();
    draw(area, figure, Pen { scale: PNG_SCALE })
}

fn draw<B: DrawingBackend>(area: Area<B>, figure: &Figure, pen: Pen) -> Result<()> {
    fonts();
    let drawn = || -> Drawn<B> {
        area.fill(&WHITE)?;
        let (head, rest) = area.split_vertically(HEAD * pen.scale);
        pen.words(&head, &figure.title, (14, 14), 20, HPos::Left)?;
        let areas = rest.split_evenly((figure.panels.len(), 1));
        for (panel, area) in figure.panels.iter().zip(areas) {
            match &panel.chart {
                Chart::Medians { groups, series } => {
                    pen.medians(&area, panel, figure.unit, groups, series)?
                }
                Chart::Lanes(lanes) => pen.lanes(&area, panel, figure.unit, lanes)?,
                Chart::Curves(curves) => pen.curves(&area, panel, figure.unit, curves)?,
            }
        }
        area.present()
    };
    drawn().map_err(|error| anyhow!("drawing {}: {error}", figure.name))
}

type Area<B> = DrawingArea<B, Shift>;
type Chart2d<'a, B> = ChartContext<'a, B, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
type Or<T, B> = Result<T, DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;
type Drawn<B> = Or<(), B>;

/// From a little below the least to a little above the greatest.
fn range(all: impl Iterator<Item = u64> + Clone) -> (f64, f64) {
    let least = all.clone().min().unwrap_or(0) as f64;
    let most = all.max().unwrap_or(1) as f64;
    let margin = ((most - least) * 0.08).max(least * 0.005).max(1.0);
    ((least - margin).max(0.0), most + margin)
}

fn whole(n: &f64) -> String {
    format!("{n:.0}")
}

/// About how many pixels a word takes.
fn wide(word: &str) -> u32 {
    8 * word.chars().count() as u32
}

/// Draws; all sizes are those of an SVG.
#[derive(Clone, Copy)]
struct Pen {
    scale: u32,
}

impl Pen {
    fn px(self, pixels: u32) -> u32 {
        pixels * self.scale
    }

    fn font(self, size: u32) -> (&'static str, u32) {
        (FONT, self.px(size))
    }

    /// At a place of an SVG's.
    fn words<B: DrawingBackend>(
        self,
        area: &Area<B>,
        text: &str,
        (x, y): (i32, i32),
        size: u32,
        side: HPos,
    ) -> Drawn<B> {
        let style = self.font(size).into_font().color(&BLACK);
        let style = style.pos(Pos::new(side, VPos::Top));
        let scale = self.scale as i32;
        area.draw(&Text::new(text.to_owned(), (x * scale, y * scale), style))
    }

    /// Where a point of a chart is, as a place of an SVG's.
    fn place<B: DrawingBackend>(
        self,
        area: &Area<B>,
        chart: &Chart2d<B>,
        point: (f64, f64),
    ) -> (i32, i32) {
        let (at, origin) = (chart.backend_coord(&point), area.get_base_pixel());
        let scale = self.scale as i32;
        ((at.0 - origin.0) / scale, (at.1 - origin.1) / scale)
    }

    /// A panel's title and axes, with room for names of this width at the left and at the right.
    fn axes<'a, B: DrawingBackend>(
        self,
        area: &'a Area<B>,
        panel: &Panel,
        (left, right): (u32, u32),
        (x, y): ((f64, f64), (f64, f64)),
    ) -> Or<Chart2d<'a, B>, B> {
        let mut chart = ChartBuilder::on(area);
        chart.margin(self.px(8)).margin_right(self.px(right));
        chart
            .x_label_area_size(self.px(44))
            .y_label_area_size(self.px(left));
        if !panel.title.is_empty() {
            chart.caption(&panel.title, self.font(16));
        }
        chart.build_cartesian_2d(x.0..x.1, y.0..y.1)
    }

    /// What the colours are, at the right.
    fn legend<B: DrawingBackend>(self, area: &Area<B>, names: &[&str], room: u32) -> Drawn<B> {
        let scale = self.scale as i32;
        let left = area.dim_in_pixel().0 as i32 / scale - room as i32 + 10;
        for (i, name) in names.iter().enumerate() {
            let y = 40 + 20 * i as i32;
            let corners = [(left, y), (left + 16, y + 10)].map(|(x, y)| (x * scale, y * scale));
            area.draw(&Rectangle::new(corners, colour(i).filled()))?;
            self.words(area, name, (left + 24, y - 2), 15, HPos::Left)?;
        }
        Ok(())
    }

    fn medians<B: DrawingBackend>(
        self,
        area: &Area<B>,
        panel: &Panel,
        unit: &str,
        groups: &[String],
        series: &[(String, Vec<Option<Spread>>)],
    ) -> Drawn<B> {
        let all = series
            .iter()
            .flat_map(|(_, points)| points.iter().flatten());
        let y = range(all.flat_map(|s| [s.p1, s.p99]));
        let x = (-0.5, groups.len() as f64 - 0.5);
        let names: Vec<&str> = series.iter().map(|(n, _)| n.as_str()).collect();
        let room = right(&names);
        let mut chart = self.axes(area, panel, (86, room), (x, y))?;
        let mut mesh = chart.configure_mesh();
        mesh.disable_x_mesh().x_labels(0).max_light_lines(1);
        mesh.y_desc(unit).y_label_formatter(&whole);
        mesh.label_style(self.font(14)).draw()?;
        for (i, group) in groups.iter().enumerate() {
            let (x, y) = self.place(area, &chart, (i as f64, y.0));
            self.words(area, group, (x, y + 8), 15, HPos::Center)?;
            if series.iter().all(|(_, points)| points[i].is_none()) {
                self.words(area, NONE, (x, y - 24), 14, HPos::Center)?;
            }
        }
        for (i, (_, points)) in series.iter().enumerate() {
            let n = series.len() as f64;
            let beside = (i as f64 - (n - 1.0) / 2.0) * 0.8 / n;
            for (group, spread) in points.iter().enumerate() {
                let Some(s) = spread else { continue };
                let x = group as f64 + beside;
                let bar = vec![(x, s.p1 as f64), (x, s.p99 as f64)];
                let bar = PathElement::new(bar, colour(i).stroke_width(self.px(3)));
                chart.draw_series([bar])?;
                let point = (x, s.median as f64);
                let radius = self.px(5) as i32;
                chart.draw_series([Circle::new(point, radius, colour(i).filled())])?;
            }
        }
        self.legend(area, &names, room)
    }

    fn lanes<B: DrawingBackend>(
        self,
        area: &Area<B>,
        panel: &Panel,
        unit: &str,
        lanes: &[(String, Vec<(u64, f64)>)],
    ) -> Drawn<B> {
        let x = range(
            lanes
                .iter()
                .flat_map(|(_, points)| points.iter().map(|p| p.0)),
        );
        let n = lanes.len() as f64;
        let names = lanes.iter().map(|(name, _)| wide(name));
        let left = names.max().unwrap_or(0) + 16;
        let mut chart = self.axes(area, panel, (left, 30), (x, (0.0, n)))?;
        let mut mesh = chart.configure_mesh();
        mesh.disable_y_mesh().y_labels(0).max_light_lines(1);
        mesh.x_desc(unit).x_label_formatter(&whole);
        mesh.label_style(self.font(14)).draw()?;
        let (width, _) = chart.plotting_area().dim_in_pixel();
        // Half a bar's width, of lengths.
        let half = (x.1 - x.0) * self.scale as f64 / width as f64;
        for (i, (name, points)) in lanes.iter().enumerate() {
            let base = n - 1.0 - i as f64;
            let bars = points.iter().map(|&(v, share)| {
                let (v, top) = (v as f64, base + 0.9 * share);
                Rectangle::new([(v - half, base), (v + half, top)], colour(i).filled())
            });
            chart.draw_series(bars)?;
            let (x, y) = self.place(area, &chart, (x.0, base + 0.6));
            self.words(area, name, (x - 8, y), 15, HPos::Right)?;
            if points.is_empty() {
                self.words(area, NONE, (x + 8, y), 14, HPos::Left)?;
            }
        }
        Ok(())
    }

    fn curves<B: DrawingBackend>(
        self,
        area: &Area<B>,
        panel: &Panel,
        unit: &str,
        curves: &[(String, Vec<(f64, u64)>)],
    ) -> Drawn<B> {
        let y = range(
            curves
                .iter()
                .flat_map(|(_, points)| points.iter().map(|p| p.1)),
        );
        let names: Vec<&str> = curves.iter().map(|(n, _)| n.as_str()).collect();
        let room = right(&names);
        let mut chart = self.axes(area, panel, (86, room), ((0.0, 100.0), y))?;
        let mut mesh = chart.configure_mesh();
        mesh.max_light_lines(1).x_desc("percentile").y_desc(unit);
        mesh.x_label_formatter(&whole).y_label_formatter(&whole);
        mesh.label_style(self.font(14)).draw()?;
        for (i, (_, points)) in curves.iter().enumerate() {
            // Those that come later are thinner: what lies below the same curve is still seen.
            let width = (curves.len() - i) as u32;
            let line = points.iter().map(|&(share, v)| (share, v as f64));
            let style = colour(i).stroke_width(self.px(width));
            if !points.is_empty() {
                chart.draw_series([PathElement::new(line.collect::<Vec<_>>(), style)])?;
            }
        }
        self.legend(area, &names, room)
    }
}

/// What stands where there is nothing to draw.
const NONE: &str = "no exit";

/// The room at the right for a legend with these names.
fn right(names: &[&str]) -> u32 {
    names.iter().map(|n| wide(n)).max().unwrap_or(0) + 50
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::layout::Lab;
    use crate::measure::bench::figure::{figures, tests::report};
    use crate::measure::report::{STATES, WITHOUT_MODULE};
    use crate::measure::strategies::strategies;

    /// Elements of this kind in one of the colours, which are nothing but data and its legend.
    fn coloured<'a>(text: &'a str, element: &str) -> Vec<&'a str> {
        let elements = text.split('<').filter(|e| e.starts_with(element));
        let hex = COLOURS.map(|c| format!("\"#{:02X}{:02X}{:02X}\"", c.0, c.1, c.2));
        elements
            .filter(|e| hex.iter().any(|h| e.contains(h.as_str())))
            .collect()
    }

    fn corners(polyline: &str) -> usize {
        let points = polyline
            .split("points=\"")
            .nth(1)
            .and_then(|p| p.split('"').next());
        points.unwrap_or("").split_whitespace().count()
    }

    #[test]
    fn every_picture_has_its_names_and_points() {
        for figure in figures(&report()) {
            let text = svg(&figure).unwrap().replace("&apos;", "'");
            let shown = |words: &str| text.lines().any(|l| l.trim() == words);
            assert!(shown(&figure.title), "{}", figure.name);
            for panel in &figure.panels {
                let names: Vec<&String> = match &panel.chart {
                    Chart::Medians { groups, series } => {
                        groups.iter().chain(series.iter().map(|(n, _)| n)).collect()
                    }
                    Chart::Lanes(all) => all.iter().map(|(n, _)| n).collect(),
                    Chart::Curves(all) => all.iter().map(|(n, _)| n).collect(),
                };
                for name in names {
                    assert!(shown(name), "{}: {name}", figure.name);
                }
            }
            let (mut circles, mut boxes, mut lines) = (0, 0, 0);
            for panel in &figure.panels {
                match &panel.chart {
                    Chart::Medians { series, .. } => {
                        let points = series.iter().flat_map(|(_, p)| p).flatten().count();
                        (circles, boxes, lines) =
                            (circles + points, boxes + series.len(), lines + 2 * points);
                    }
                    Chart::Lanes(all) => boxes += all.iter().map(|(_, p)| p.len()).sum::<usize>(),
                    Chart::Curves(all) => {
                        boxes += all.len();
                        lines += all.iter().map(|(_, p)| p.len()).sum::<usize>();
                    }
                }
            }
            assert_eq!(coloured(&text, "circle").len(), circles, "{}", figure.name);
            assert_eq!(coloured(&text, "rect").len(), boxes, "{}", figure.name);
            let drawn: usize = coloured(&text, "polyline").into_iter().map(corners).sum();
            assert_eq!(drawn, lines, "{}", figure.name);
        }
    }

    #[test]
    fn the_readmes_picture_has_every_column_and_state() {
        let text = include_str!("../../../../Documentation/bench-exit.svg");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let lab = Lab::at_root(&root, Default::default()).unwrap();
        let columns = WITHOUT_MODULE.into_iter().map(str::to_owned);
        let columns: Vec<String> = columns.chain(strategies(&lab).unwrap()).collect();
        let states = STATES.map(|s| s.replace('_', " ").replace("amx", "AMX"));
        for name in columns.iter().chain(&states) {
            assert!(text.lines().any(|l| l == name), "{name}");
        }
        let points = columns.len() * states.len();
        assert_eq!(coloured(text, "circle").len(), points);
    }

    #[test]
    fn a_png_is_drawn() {
        let dir = tempfile::tempdir().unwrap();
        // Without optimisation it takes its time: one will do.
        let path = dir.path().join("x.png");
        png(&figures(&report())[0], &path).unwrap();
        let bytes = std::fs::read(path).unwrap();
        assert!(bytes.starts_with(b"\x89PNG") && bytes.len() > 4000);
    }
}
