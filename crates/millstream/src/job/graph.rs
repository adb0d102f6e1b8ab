//! Which dataset reads which, and an order in which all upstreams come first. Cycles are errors.

use std::collections::BTreeMap;

use millstream_analyzer::referenced_relations;
use millstream_core::{Error, Result};
use millstream_sql::ir::{CreateDataset, Plan};

use crate::catalog::Entry;
use crate::session::Session;

/// The graph of a job's datasets, by their positions in the file.
#[derive(Debug)]
pub(crate) struct Graph {
    upstream: Vec<Vec<usize>>,
    order: Vec<usize>,
}

impl Graph {
    pub(crate) fn new(session: &Session, datasets: &[CreateDataset]) -> Result<Self> {
        let mut positions = BTreeMap::new();
        for (position, dataset) in datasets.iter().enumerate() {
            let name = dataset.name.parts.join(".");
            if positions.insert(name.to_lowercase(), position).is_some() || session.catalog().get(&name).is_some() {
                return Err(Error::invalid(format!("'{name}' is declared twice"))
                    .context(format!("line {}, column {}", dataset.span.line, dataset.span.column)));
            }
        }
        let upstream = datasets.iter().map(|dataset| upstream_of(session, dataset, &positions)).collect::<Vec<_>>();
        let order = sort(datasets, &upstream)?;
        Ok(Self { upstream, order })
    }

    /// The datasets that one reads, directly or through views.
    pub(crate) fn upstream(&self, position: usize) -> Vec<usize> {
        self.upstream.get(position).cloned().unwrap_or_default()
    }

    /// All positions, upstreams first.
    pub(crate) fn order(&self) -> &[usize] {
        &self.order
    }
}

fn upstream_of(session: &Session, dataset: &CreateDataset, positions: &BTreeMap<String, usize>) -> Vec<usize> {
    let mut found = Vec::new();
    let reads = dataset.query.iter().flat_map(|query| reads_of(session, query));
    for position in reads.filter_map(|read| positions.get(&read.table?.to_lowercase()).copied()) {
        if !found.contains(&position) {
            found.push(position);
        }
    }
    found
}

/// A leaf of a query.
#[derive(Debug)]
pub(crate) struct TableRead {
    /// The name of the table, if it has one.
    pub(crate) table: Option<String>,
    /// Whether it is read as a stream.
    pub(crate) is_streaming: bool,
}

/// What a query reads, directly or through views.
pub(crate) fn reads_of(session: &Session, query: &Plan) -> Vec<TableRead> {
    let mut reads = Vec::new();
    let mut seen_views = Vec::new();
    let mut waiting = vec![query.clone()];
    while let Some(plan) = waiting.pop() {
        for relation in referenced_relations(&plan) {
            let table = relation.name().map(|name| name.join("."));
            match table.as_ref().and_then(|name| session.catalog().get(name)) {
                Some(Entry::View(view)) => {
                    if !seen_views.contains(&view.name) {
                        seen_views.push(view.name.clone());
                        waiting.push(view.plan.as_ref().clone());
                    }
                }
                _ => reads.push(TableRead { table, is_streaming: relation.read.is_streaming }),
            }
        }
    }
    reads
}

/// Depth-first; a dataset met again on its own path closes a cycle.
fn sort(datasets: &[CreateDataset], upstream: &[Vec<usize>]) -> Result<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        OnPath,
        Done,
    }
    let mut marks = vec![Mark::New; datasets.len()];
    let mut order = Vec::new();
    for root in 0..datasets.len() {
        // (dataset, how many of its upstreams have been visited)
        let mut path: Vec<(usize, usize)> = Vec::new();
        if marks.get(root) == Some(&Mark::New) {
            path.push((root, 0));
        }
        while let Some((at, visited)) = path.last_mut() {
            let (at, next) = (*at, upstream.get(*at).and_then(|all| all.get(*visited)).copied());
            *visited += 1;
            if let Some(mark) = marks.get_mut(at) {
                *mark = if next.is_some() { Mark::OnPath } else { Mark::Done };
            }
            match next {
                None => {
                    order.push(at);
                    path.pop();
                }
                Some(next) => match marks.get(next) {
                    Some(Mark::OnPath) => return Err(cycle(datasets, &path, next)),
                    Some(Mark::New) => path.push((next, 0)),
                    _ => {}
                },
            }
        }
    }
    Ok(order)
}

fn cycle(datasets: &[CreateDataset], path: &[(usize, usize)], back_to: usize) -> Error {
    let from = path.iter().position(|(at, _)| *at == back_to).unwrap_or(0);
    let on_cycle = path.iter().skip(from).map(|(at, _)| *at).chain([back_to]);
    let names: Vec<String> = on_cycle.filter_map(|at| datasets.get(at)).map(|dataset| dataset.name.parts.join(".")).collect();
    let error = Error::invalid(format!("the datasets read each other in a circle: {}", names.join(" reads ")));
    match datasets.get(back_to) {
        Some(dataset) => error.context(format!("line {}, column {}", dataset.span.line, dataset.span.column)),
        None => error,
    }
}
