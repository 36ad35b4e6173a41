//! Draws a graph as SVG.

use super::{Graph, Kind, Options, heat, marks};

/// Draws a graph as an SVG picture. The same graph and options give the same text.
///
/// ```
/// use forebay::{Timestamp, time::secs};
/// use forebay_server::chart::{Graph, Options, Row, draw};
/// let start = Timestamp::from_secs(1_767_225_600);
/// let starts: Vec<_> = (0..3).map(|n| start.plus(secs(10) * n)).collect();
/// let end = start.plus(secs(30));
/// let graph = Graph {
///     title: "hits of <42>".to_owned(),
///     unit: "hits per {}".to_owned(),
///     starts,
///     end,
///     step: Some(secs(10)),
///     counted: start..end,
///     rows: vec![Row::counts("42", [3, 0, 5])],
/// };
/// let svg = draw(graph, &Options::default());
/// assert!(svg.starts_with("<svg") && svg.contains("hits of &lt;42&gt;") && svg.contains("hits per 10s"));
/// ```
///
/// # Cost
/// Linear in the points; the picture has at most one column for every three pixels, and ten rows.
pub fn draw(graph: Graph, options: &Options) -> String {
    let graph = graph.bounded();
    match options.kind {
        Kind::Heatmap => heat::draw(&graph, options),
        _ => marks::draw(&graph, options),
    }
}
