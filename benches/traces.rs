//! How adaptive limits follow services whose capacity is known, and how balancers do
//! before fleets of them, in virtual time.
//!
//! `cargo bench --bench traces` prints tables; `-- --write` draws
//! `src/adaptive/traces.svg` and `src/balance/traces.svg`, which the documentation
//! shows.
#![allow(clippy::print_stdout, clippy::expect_used)]

use std::fmt::Write;

#[path = "traces/balance.rs"]
mod balance;
#[path = "traces/mod.rs"]
mod traces;

use traces::{RULES, Run, Trace, best_fixed, ruled, run, traces};

fn main() {
    let writes = std::env::args().any(|arg| arg == "--write");
    let write = |path: &str, picture: String| {
        if writes {
            let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
            std::fs::write(path, picture).expect("the picture is written");
        }
    };
    write("src/adaptive/traces.svg", adaptive());
    write("src/balance/traces.svg", balance::picture());
}

fn adaptive() -> String {
    let mut panels = Vec::new();
    println!(
        "{:<26}{:<12}{:>10}{:>12}{:>10}",
        "trace", "rule", "served/s", "of the best", "slowed"
    );
    for trace in traces() {
        let (limit, best) = best_fixed(&trace);
        let mut runs = Vec::new();
        for (name, rule) in RULES {
            let run = run(&trace, ruled(rule));
            let share = 100.0 * run.goodput / best;
            println!(
                "{:<26}{name:<12}{:>10.0}{share:>10.1} %{:>9.2}x",
                trace.name, run.goodput, run.slowdown
            );
            runs.push((name, run));
        }
        panels.push((trace, limit, runs));
    }
    draw(&panels)
}

type Panel = (Trace, u32, Vec<(&'static str, Run)>);

const WIDTH: usize = 340;
const HEIGHT: usize = 150;
const COLOURS: [&str; 4] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"];

/// Small multiples: limits over windows, and the best fixed limit at the end.
fn draw(panels: &[Panel]) -> String {
    let rows = panels.len().div_ceil(2);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" \
         font-family=\"sans-serif\" font-size=\"11\" role=\"img\" \
         aria-label=\"limits over windows\">\n",
        2 * WIDTH,
        rows * HEIGHT + 24
    );
    for (i, (name, colour)) in RULES.iter().map(|(name, _)| name).zip(COLOURS).enumerate() {
        let x = 20 + i * 100;
        let _ = writeln!(
            svg,
            "<text x=\"{x}\" y=\"14\" fill=\"{colour}\">{name}</text>"
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"420\" y=\"14\" fill=\"#888\">dashed: the best fixed limit</text>"
    );
    for (i, panel) in panels.iter().enumerate() {
        let (x, y) = (i % 2 * WIDTH, 24 + i / 2 * HEIGHT);
        let _ = writeln!(svg, "<g transform=\"translate({x},{y})\">");
        draw_panel(&mut svg, panel);
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw_panel(svg: &mut String, (trace, best, runs): &Panel) {
    let (left, top, width, height) = (30, 18, WIDTH - 45, HEIGHT - 40);
    let highest = runs.iter().flat_map(|(_, run)| &run.limits).max();
    let highest = highest.copied().unwrap_or(1).max(*best) as usize;
    let windows = usize::try_from(trace.windows).expect("few windows");
    let at = |window: usize, limit: usize| {
        let y = top + height - limit * height / highest;
        (left + window * width / windows, y)
    };
    let name = trace.name;
    let _ = writeln!(
        svg,
        "<text x=\"{left}\" y=\"12\" fill=\"#888\">{name}</text>"
    );
    let ((_, zero), (end, line)) = (at(0, 0), at(windows, *best as usize));
    let _ = writeln!(
        svg,
        "<path d=\"M{left} {top}V{zero}H{end}\" fill=\"none\" stroke=\"#888\"/>\
         <text x=\"2\" y=\"{}\" fill=\"#888\">{highest}</text>\
         <text x=\"{}\" y=\"{}\" fill=\"#888\">{windows} windows</text>",
        top + 8,
        end - 70,
        zero + 14
    );
    if name != "idle" {
        let counted = usize::try_from(trace.counted_from).expect("few windows");
        let (start, _) = at(counted, 0);
        let _ = writeln!(
            svg,
            "<path d=\"M{start} {line}H{end}\" stroke=\"#888\" stroke-dasharray=\"4 3\"/>"
        );
    }
    for ((_, run), colour) in runs.iter().zip(COLOURS) {
        let mut points = String::new();
        for (window, limit) in run.limits.iter().enumerate().step_by(2) {
            let (x, y) = at(window, *limit as usize);
            let _ = write!(points, "{x},{y} ");
        }
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\"/>",
            points.trim_end()
        );
    }
}
