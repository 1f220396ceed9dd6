//! What 99 of 100 calls take at the most, by picker and by load.

use std::fmt::Write;

use tower_keep::balance::{LeastRequest, PeakEwma, Picker, Policy, Prequal, RoundRobin};

use crate::traces::fleet::{Offered, fleets, quantile, run, settled};

/// Of what all endpoints can serve, in percent.
const LOADS: [u32; 6] = [30, 50, 60, 70, 80, 90];
const REQUESTS: usize = 40_000;
const COLOURS: [&str; 4] = ["#888888", "#0072b2", "#d55e00", "#009e73"];
const WIDTH: usize = 340;
const HEIGHT: usize = 220;
/// The shortest and the longest time of the picture, in milliseconds.
const SPAN: (f64, f64) = (30.0, 600.0);

fn policies() -> [(&'static str, Policy); 4] {
    fn policy(picker: impl Picker) -> Policy {
        let policy = Policy::builder().picker(picker);
        policy.build().expect("a policy")
    }
    [
        ("round robin", policy(RoundRobin::default())),
        ("least request", policy(LeastRequest::default())),
        ("Peak EWMA", policy(PeakEwma::default())),
        ("Prequal", policy(Prequal::default())),
    ]
}

/// Small multiples: a fleet each, and the time that 99 of 100 calls do not exceed.
pub(crate) fn picture() -> String {
    let (width, height) = (2 * WIDTH, HEIGHT + 24);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"11\" role=\"img\" \
         aria-label=\"p99 of response times by load\">\n"
    );
    for (i, ((name, _), colour)) in policies().iter().zip(COLOURS).enumerate() {
        let x = 30 + i * 110;
        let _ = writeln!(
            svg,
            "<text x=\"{x}\" y=\"14\" fill=\"{colour}\">{name}</text>"
        );
    }
    println!(
        "\n{:<40}{:<16}p99 in ms at a load of {LOADS:?} %",
        "fleet", "picker"
    );
    for (i, fleet) in fleets().into_iter().enumerate() {
        let _ = writeln!(svg, "<g transform=\"translate({},24)\">", i * WIDTH);
        axes(&mut svg, fleet.name);
        for ((name, policy), colour) in policies().into_iter().zip(COLOURS) {
            let tail = |load: u32| {
                let offered = Offered {
                    per_second: fleet.capacity() * f64::from(load) / 100.0,
                    requests: REQUESTS,
                };
                let ended = run(&fleet, policy.clone(), offered, fleet.endpoints(), |_| ());
                quantile(settled(&ended), 990)
            };
            let tails = LOADS.map(tail);
            println!("{:<40}{name:<16}{tails:.0?}", fleet.name);
            let points = LOADS.iter().zip(tails).map(|(load, tail)| {
                let (x, y) = place(*load, tail);
                format!("{x:.0},{y:.0}")
            });
            let points: Vec<String> = points.collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\"/>",
                points.join(" ")
            );
        }
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

const LEFT: f64 = 44.0;
const TOP: f64 = 18.0;

/// Where a point is: loads from left to right, times upwards by their logarithm.
#[allow(clippy::cast_precision_loss)] // small numbers
fn place(load: u32, tail: f64) -> (f64, f64) {
    let (width, height) = (WIDTH as f64 - LEFT - 15.0, HEIGHT as f64 - TOP - 30.0);
    let first = f64::from(LOADS[0]);
    let x = LEFT + (f64::from(load) - first) / (100.0 - first) * width;
    let along = |time: f64| (time / SPAN.0).ln() / (SPAN.1 / SPAN.0).ln();
    let y = TOP + height * (1.0 - along(tail.clamp(SPAN.0, SPAN.1)));
    (x, y)
}

fn axes(svg: &mut String, name: &str) {
    let ((left, bottom), (right, _)) = (place(LOADS[0], SPAN.0), place(100, SPAN.0));
    let _ = writeln!(
        svg,
        "<text x=\"{left}\" y=\"12\" fill=\"#888\">{name}</text>\
         <path d=\"M{left} {TOP}V{bottom}H{right}\" fill=\"none\" stroke=\"#888\"/>"
    );
    for time in [30.0, 50.0, 100.0, 200.0, 500.0] {
        let (_, y) = place(LOADS[0], time);
        let _ = writeln!(
            svg,
            "<text x=\"2\" y=\"{:.0}\" fill=\"#888\">{time} ms</text>",
            y + 4.0
        );
    }
    for load in [30, 50, 70, 90] {
        let (x, y) = place(load, SPAN.0);
        let _ = writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"{:.0}\" fill=\"#888\">{load} %</text>",
            x - 8.0,
            y + 14.0
        );
    }
}
