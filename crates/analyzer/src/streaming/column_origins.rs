//! Where the columns of a streaming plan come from, as texts: by them a restart knows the columns that state is kept of.
//!
//! The analyzer calls a column of a plan `#7`, by its place in the query: a column more in a source's declaration makes another
//! number of it. So state is not known by such names, but by the user's (`amount`), and by what a column is computed from, down to
//! the columns of sources: `orders.amount`, `upper(orders.customer)`.
//!
//! ```text
//!   TableScan orders         orders.k      orders.v
//!   Projection               #1 orders.k   #2 orders.v
//!   Projection               #3 upper(orders.k)   #2
//!   StatefulAggregate by #3  #4 sum(orders.v)
//! ```
//! Texts leave out what changes without another value: types that only get wider, the schema of `from_json`. Of a long text only
//! the beginning is kept, and a hash of all.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Cast, Expr, GroupingSet, JoinType, LogicalPlan};
use millstream_core::stack::with_room;
use millstream_core::{Error, Result};
use twox_hash::XxHash3_64;

use super::changes::CHANGE;
use super::groups_with_state::NamedColumn;
use super::output_mode::node_of;
use super::{DeduplicateNode, GroupsWithStateNode, StatefulAggregateNode, StreamJoinNode, StreamLimitNode};
use crate::row_facts::{RowFact, RowFactNode, Seed};

/// The longest text of an origin, in characters, without its hash.
const TEXT_MAX: usize = 200;
/// What the user calls a slice of windows that overlap.
const SLICE: &str = "slice";
/// What begins the plan names of columns.
const PLAN_NAME: char = '#';

/// Where the columns of a plan come from. See the module's documentation.
#[derive(Debug, Clone, Default)]
pub struct ColumnOrigins {
    /// By plan name: what it is computed from.
    texts: HashMap<String, String>,
    /// By plan name: what the user calls it.
    names: BTreeMap<String, String>,
    /// By operator: what rows go through on their way to it, from those below it or from sources.
    steps: HashMap<String, BTreeSet<String>>,
    /// How often each table was read so far: two readings of a table are two things.
    n_scans: HashMap<String, usize>,
}

impl ColumnOrigins {
    /// Of a query's plan, as [`super::for_output_mode`] gives it.
    pub fn of(plan: &LogicalPlan) -> Result<Self> {
        let mut origins = Self::default();
        origins.add(plan).map_err(|error| Error::internal(error.to_string()))?;
        plan.apply(|node| {
            let relations: Vec<&[NamedColumn]> = if let Some(node) = node_of::<StatefulAggregateNode>(node) {
                origins.names.extend(names_of_keys(node));
                vec![node.relation()]
            } else if let Some(node) = node_of::<DeduplicateNode>(node) {
                vec![node.relation()]
            } else if let Some(node) = node_of::<StreamJoinNode>(node) {
                node.relations().to_vec()
            } else if let Some(node) = node_of::<GroupsWithStateNode>(node) {
                vec![&node.input().columns]
            } else {
                vec![]
            };
            for NamedColumn { column, name } in relations.into_iter().flatten() {
                origins.names.entry(column.name.clone()).or_insert_with(|| name.clone());
            }
            Ok(TreeNodeRecursion::Continue)
        })
        .map_err(|error| Error::internal(error.to_string()))?;
        Ok(origins)
    }

    /// What a column is computed from; also of a name that is made of plan names, such as `sum(#3)[count]`.
    pub fn origin(&self, name: &str) -> String {
        self.texts.get(name).cloned().unwrap_or_else(|| bounded(replaced(name, |column| self.texts.get(column).cloned())))
    }

    /// What the user calls a column, or else its origin; also of a name that is made of plan names.
    pub fn name(&self, name: &str) -> String {
        bounded(replaced(name, |column| self.names.get(column).or_else(|| self.texts.get(column)).cloned()))
    }

    /// What rows go through between a stateful operator and those below it, or sources: what drops or multiplies them.
    pub fn steps(&self, operator: &str) -> BTreeSet<String> {
        self.steps.get(operator).cloned().unwrap_or_default()
    }

    /// The origins of the node's columns, in their order, and the steps from the stateful nodes below it.
    fn add(&mut self, plan: &LogicalPlan) -> DfResult<(Vec<String>, BTreeSet<String>)> {
        let inputs = plan.inputs();
        let mut of_inputs = Vec::with_capacity(inputs.len());
        let mut steps = BTreeSet::new();
        for input in &inputs {
            let (texts, of_input) = with_room(|| self.add(input))?;
            of_inputs.push(texts);
            steps.extend(of_input);
        }
        if let LogicalPlan::TableScan(scan) = plan {
            *self.n_scans.entry(scan.table_name.to_string()).or_default() += 1;
        }
        let below = Below { inputs, texts: of_inputs, origins: self };
        let texts = self.of_node(plan, &below)?;
        let own_steps = if operator_of(plan).is_some() { Vec::new() } else { below.steps_of(plan)? };
        match operator_of(plan) {
            Some(operator) => {
                self.steps.insert(operator.to_owned(), std::mem::take(&mut steps));
            }
            None => steps.extend(own_steps),
        }
        let names = plan.schema().fields().iter().map(|field| field.name());
        for (name, text) in names.zip(&texts).filter(|(name, _)| name.starts_with(PLAN_NAME)) {
            self.texts.insert(name.clone(), text.clone());
        }
        Ok((texts, steps))
    }

    fn of_node(&self, plan: &LogicalPlan, below: &Below<'_>) -> DfResult<Vec<String>> {
        let all = |exprs: &mut dyn Iterator<Item = &Expr>| exprs.map(|expr| below.whole_text(expr)).collect::<DfResult<Vec<_>>>();
        Ok(match plan {
            LogicalPlan::TableScan(scan) => {
                let table = scan.table_name.to_string();
                let table = match self.n_scans.get(&table) {
                    Some(nth) if *nth > 1 => format!("{table}({nth})"),
                    _ => table,
                };
                plan.schema().fields().iter().map(|field| format!("{table}.{}", field.name())).collect()
            }
            LogicalPlan::Projection(node) => all(&mut node.expr.iter())?,
            LogicalPlan::Window(node) => {
                let computed = all(&mut node.window_expr.iter())?;
                below.all().chain(computed).collect()
            }
            LogicalPlan::Join(node) if matches!(node.join_type, JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full) => {
                below.all().collect()
            }
            LogicalPlan::Union(_) => {
                let n_columns = plan.schema().fields().len();
                (0..n_columns).map(|at| below.at(at)).collect()
            }
            LogicalPlan::SubqueryAlias(_) => below.all().collect(),
            LogicalPlan::Aggregate(node) => {
                let computed = all(&mut node.group_expr.iter().chain(&node.aggr_expr))?;
                below.by_name(plan, computed)
            }
            _ => match node_of::<StatefulAggregateNode>(plan) {
                Some(node) => {
                    let aggregate = node.aggregate();
                    let computed = all(&mut aggregate.group_expr.iter().chain(&aggregate.aggr_expr))?;
                    below.by_name(plan, computed)
                }
                None => match node_of::<RowFactNode>(plan) {
                    Some(node) => below.all().chain([text_of_fact(node.fact())]).collect(),
                    None => below.by_name(plan, Vec::new()),
                },
            },
        })
    }
}

/// What the user calls the keys of an aggregation. Of windows that overlap the key is a slice of them.
fn names_of_keys(node: &StatefulAggregateNode) -> Vec<(String, String)> {
    let sets = |expr: &Expr| match expr {
        Expr::GroupingSet(GroupingSet::GroupingSets(sets)) => sets.iter().flatten().cloned().collect(),
        expr => vec![expr.clone()],
    };
    let mut keys: Vec<String> = Vec::new();
    for column in node.aggregate().group_expr.iter().flat_map(sets).filter_map(|key| key.try_as_col().map(|key| key.name.clone())) {
        if !keys.contains(&column) {
            keys.push(column);
        }
    }
    let overlapping = node.window().filter(|window| !window.windows().is_tumbling()).map(|window| window.slice().name.clone());
    let name = |(key, name): (String, &String)| match Some(&key) == overlapping.as_ref() {
        true => (key, SLICE.to_owned()),
        false => (key, name.clone()),
    };
    keys.into_iter().zip(node.key_names()).map(name).collect()
}

/// What the inputs of a node give.
struct Below<'p> {
    inputs: Vec<&'p LogicalPlan>,
    texts: Vec<Vec<String>>,
    origins: &'p ColumnOrigins,
}

impl Below<'_> {
    fn all(&self) -> impl Iterator<Item = String> {
        self.texts.iter().flatten().cloned()
    }

    fn column(&self, column: &Column) -> Option<&str> {
        let found = self.inputs.iter().zip(&self.texts).find_map(|(input, texts)| {
            let at = input.schema().maybe_index_of_column(column)?;
            texts.get(at)
        });
        found.map(String::as_str)
    }

    /// A column of all inputs, one below the other.
    fn at(&self, at: usize) -> String {
        let mut texts: Vec<&str> = self.texts.iter().filter_map(|texts| texts.get(at)).map(String::as_str).collect();
        texts.dedup();
        bounded(texts.join(" | "))
    }

    /// The first columns are `computed`, if they are all that there are but for that of changes; others are those of inputs, by
    /// name, or made by the node.
    fn by_name(&self, plan: &LogicalPlan, computed: Vec<String>) -> Vec<String> {
        let mut computed = computed.into_iter();
        let mut n_made = 0;
        let others = plan.schema().iter().map(|(qualifier, field)| {
            let own = if field.name() == CHANGE { None } else { computed.next() };
            let column = Column::new(qualifier.cloned(), field.name());
            let of_input = || self.column(&column).map(str::to_owned);
            let made = || match field.name().starts_with(PLAN_NAME) {
                true => {
                    n_made += 1;
                    format!("{}[{n_made}]", node_name(plan))
                }
                false => field.name().clone(),
            };
            own.or_else(of_input).unwrap_or_else(made)
        });
        others.collect()
    }

    /// What a node without state does to rows, beside what it computes of each.
    fn steps_of(&self, plan: &LogicalPlan) -> DfResult<Vec<String>> {
        match plan {
            LogicalPlan::Filter(node) => split_conjunction(&node.predicate)
                .into_iter()
                .map(|condition| Ok(format!("WHERE {}", self.whole_text(condition)?)))
                .collect(),
            LogicalPlan::Join(node) => {
                let keys = node.on.iter().map(|(left, right)| Ok(format!("{} = {}", self.text(left)?, self.text(right)?)));
                let conditions = node.filter.iter().map(|filter| self.whole_text(filter));
                let on = keys.chain(conditions).collect::<DfResult<Vec<_>>>()?;
                Ok(vec![format!("{} JOIN ON {}", node.join_type, on.join(" AND "))])
            }
            LogicalPlan::Unnest(node) => {
                let columns = node.exec_columns.iter().map(|column| self.column(column).unwrap_or(&column.name));
                Ok(vec![format!("UNNEST {}", columns.collect::<Vec<_>>().join(", "))])
            }
            LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(_) | LogicalPlan::Limit(_) | LogicalPlan::Window(_) => {
                Ok(vec![node_name(plan)])
            }
            _ => Ok(Vec::new()),
        }
    }

    /// An expression over the inputs, with the origins of its columns. Variables of lambdas are numbered in their order.
    fn whole_text(&self, expr: &Expr) -> DfResult<String> {
        let mut names: HashMap<String, String> = HashMap::new();
        let mut name_of = |name: &str| {
            let n = names.len() + 1;
            names.entry(name.to_owned()).or_insert_with(|| format!("lambda{n}")).clone()
        };
        let numbered = expr.clone().transform_down(|node| {
            Ok(match node {
                Expr::Lambda(mut lambda) => {
                    lambda.params = lambda.params.iter().map(|name| name_of(name)).collect();
                    Transformed::yes(Expr::Lambda(lambda))
                }
                Expr::LambdaVariable(mut variable) => {
                    variable.name = name_of(&variable.name);
                    Transformed::yes(Expr::LambdaVariable(variable))
                }
                other => Transformed::no(other),
            })
        })?;
        self.text(&numbered.data)
    }

    /// A subquery: what it gives, and what its rows go through.
    fn subquery(&self, subquery: &LogicalPlan) -> DfResult<String> {
        let mut inner = ColumnOrigins { texts: self.origins.texts.clone(), ..ColumnOrigins::default() };
        let (columns, steps) = inner.add(subquery)?;
        Ok(format!("(SELECT {} {})", columns.join(", "), steps.into_iter().collect::<Vec<_>>().join(" ")))
    }

    fn text(&self, expr: &Expr) -> DfResult<String> {
        Ok(bounded(with_room(|| self.unbounded(expr))?))
    }

    fn unbounded(&self, expr: &Expr) -> DfResult<String> {
        let list = |exprs: &[Expr]| {
            Ok::<_, datafusion::error::DataFusionError>(exprs.iter().map(|expr| self.text(expr)).collect::<DfResult<Vec<_>>>()?.join(", "))
        };
        Ok(match expr {
            Expr::Column(column) => self.column(column).map_or_else(|| column.name.clone(), str::to_owned),
            Expr::Alias(alias) => self.text(&alias.expr)?,
            // The analyzer casts so only where every value stays what it is.
            Expr::Cast(Cast { expr, .. }) => self.text(expr)?,
            Expr::Literal(value, _) => literal(value),
            Expr::OuterReferenceColumn(_, column) => self.origins.origin(&column.name),
            Expr::ScalarSubquery(subquery) => self.subquery(&subquery.subquery)?,
            Expr::InSubquery(asked) => {
                let is_in = if asked.negated { "NOT IN" } else { "IN" };
                format!("({}) {is_in} {}", self.text(&asked.expr)?, self.subquery(&asked.subquery.subquery)?)
            }
            Expr::Exists(asked) => {
                let exists = if asked.negated { "NOT EXISTS" } else { "EXISTS" };
                format!("{exists} {}", self.subquery(&asked.subquery.subquery)?)
            }
            Expr::ScalarFunction(ScalarFunction { func, args }) => match (func.name(), args.as_slice()) {
                // What is taken out of a text is told apart by the fields; what a schema has beside them does not matter.
                (name @ "spark_from_json", [text, _schema, options @ ..]) => {
                    format!("{name}({})", list(&[std::slice::from_ref(text), options].concat())?)
                }
                (name, args) => format!("{name}({})", list(args)?),
            },
            other => {
                let in_place = other.clone().map_children(|child| {
                    let text = self.text(&child)?;
                    let is_one =
                        matches!(child, Expr::Column(_) | Expr::Literal(..) | Expr::ScalarFunction(_) | Expr::Alias(_) | Expr::Cast(_));
                    let text = if is_one { text } else { format!("({text})") };
                    Ok(Transformed::yes(Expr::Column(Column::new_unqualified(text))))
                })?;
                in_place.data.to_string()
            }
        })
    }
}

/// What a checkpoint calls a stateful node.
fn operator_of(plan: &LogicalPlan) -> Option<&str> {
    node_of::<StatefulAggregateNode>(plan)
        .map(StatefulAggregateNode::operator)
        .or_else(|| node_of::<DeduplicateNode>(plan).map(DeduplicateNode::operator))
        .or_else(|| node_of::<StreamJoinNode>(plan).map(StreamJoinNode::operator))
        .or_else(|| node_of::<StreamLimitNode>(plan).map(StreamLimitNode::operator))
        .or_else(|| node_of::<GroupsWithStateNode>(plan).map(GroupsWithStateNode::operator))
}

fn node_name(plan: &LogicalPlan) -> String {
    match plan {
        LogicalPlan::Extension(extension) => extension.node.name().to_owned(),
        other => {
            let shown = other.display().to_string();
            shown.split([':', ' ']).next().unwrap_or_default().to_owned()
        }
    }
}

/// What a row fact is, without the number that tells calls of a plan apart.
fn text_of_fact(fact: RowFact) -> String {
    let of_seed = |name: &str, seed: Seed| match seed {
        Seed::Given(seed) => format!("{name}({seed})"),
        Seed::OfBatch(_) => format!("{name}()"),
    };
    match fact {
        RowFact::BatchTime => "current_timestamp()".to_owned(),
        RowFact::PartitionId => "spark_partition_id()".to_owned(),
        RowFact::RowId => "monotonically_increasing_id()".to_owned(),
        RowFact::Rand(seed) => of_seed("rand", seed),
        RowFact::Randn(seed) => of_seed("randn", seed),
        RowFact::Uuid(seed) => of_seed("uuid", seed),
        RowFact::Bits(seed) => of_seed("bits", seed),
    }
}

fn literal(value: &ScalarValue) -> String {
    match value {
        ScalarValue::Binary(Some(bytes)) | ScalarValue::LargeBinary(Some(bytes)) | ScalarValue::BinaryView(Some(bytes)) => {
            format!("X'{}'", bytes.iter().map(|byte| format!("{byte:02X}")).collect::<String>())
        }
        ScalarValue::Utf8(Some(text)) | ScalarValue::LargeUtf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => format!("'{text}'"),
        other => other.to_string(),
    }
}

/// The text, or its beginning and a hash of all of it.
fn bounded(text: String) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        None => text,
        Some((end, _)) => format!("{}... {:016x}", text.get(..end).unwrap_or_default(), XxHash3_64::oneshot(text.as_bytes())),
    }
}

/// The name with something else in the place of each plan name in it.
fn replaced(name: &str, of_column: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(at) = rest.find(PLAN_NAME) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let end = from.char_indices().skip(1).find(|(_, c)| !c.is_ascii_alphanumeric()).map_or(from.len(), |(end, _)| end);
        let (column, behind) = from.split_at(end);
        match of_column(column) {
            Some(text) => out.push_str(&text),
            None => out.push_str(column),
        }
        rest = behind;
    }
    out.push_str(rest);
    out
}
