//! The state of one resolution: ids, common table expressions, named windows, enclosing queries.
//!
//! It lives for one call of [`crate::Analyzer`] and is passed by `&mut` through plans and expressions. It holds no
//! rows and touches nothing outside but the catalog.

use std::cell::Cell;
use std::rc::Rc;

use millstream_core::stack::with_room;
use millstream_sql::Span;
use millstream_sql::ir::{Ident, Plan, WindowSpec};

use crate::catalog::Catalog;
use crate::error::{AnalysisError, Result};
use crate::plan::Recursion;
use crate::scope::{Attribute, NameCase};
use crate::settings::SessionSettings;

/// How deep plans and expressions may nest, those of views and named queries included. Resolving finds room on the stack
/// at any depth; the operators of the running query, one in the other, do not.
const DEPTH_MAX: usize = 1000;

/// One named query of `WITH`.
pub(crate) struct CteNode {
    pub(crate) name: String,
    pub(crate) columns: Vec<Ident>,
    pub(crate) plan: Plan,
    /// Whether it may name itself, and how many rounds it may take then.
    pub(crate) is_recursive: bool,
    pub(crate) level_max: Option<u32>,
    /// What is visible inside it: the ones before it.
    pub(crate) parent: CteEnv,
}

/// The visible named queries, innermost first.
pub(crate) type CteEnv = Option<Rc<CteNode>>;

/// The state of one resolution.
pub(crate) struct Resolver<'a> {
    settings: &'a SessionSettings,
    catalog: &'a dyn Catalog,
    ids: Cell<u64>,
    depth: usize,
    pub(crate) ctes: CteEnv,
    /// Definitions of `WINDOW` clauses, innermost last.
    pub(crate) windows: Vec<Vec<(Ident, WindowSpec)>>,
    /// Columns of the queries around a subquery, innermost last.
    pub(crate) outer: Vec<Vec<Attribute>>,
    /// Recursive queries that are being resolved, outermost first.
    pub(crate) recursions: Vec<Recursion>,
    /// Views that are being resolved, for the error about a cycle.
    pub(crate) views: Vec<String>,
    /// Whether the query names `_metadata`: only then are the hidden columns of its sources carried along.
    pub(crate) names_metadata: bool,
}

impl<'a> Resolver<'a> {
    pub(crate) fn new(settings: &'a SessionSettings, catalog: &'a dyn Catalog) -> Self {
        Resolver {
            settings,
            catalog,
            ids: Cell::new(0),
            depth: 0,
            ctes: None,
            windows: vec![],
            outer: vec![],
            recursions: vec![],
            views: vec![],
            names_metadata: false,
        }
    }

    pub(crate) fn settings(&self) -> &'a SessionSettings {
        self.settings
    }

    pub(crate) fn catalog(&self) -> &'a dyn Catalog {
        self.catalog
    }

    pub(crate) fn name_case(&self) -> NameCase {
        if self.settings.case_sensitive { NameCase::Sensitive } else { NameCase::Insensitive }
    }

    /// A new column's id.
    pub(crate) fn next_id(&self) -> u64 {
        let id = self.ids.get() + 1;
        self.ids.set(id);
        id
    }

    /// Runs `f` one level deeper; what it refuses was written at `span`.
    pub(crate) fn nested<T>(&mut self, span: Span, f: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= DEPTH_MAX {
            return Err(AnalysisError::too_deep(DEPTH_MAX, span));
        }
        self.depth += 1;
        let out = with_room(|| f(self));
        self.depth -= 1;
        out.map_err(|error| error.at(span))
    }

    /// Resolves a view: it sees the catalog only, neither named queries nor columns of the query that uses it, and the
    /// settings of its own.
    pub(crate) fn in_view<T>(
        &mut self,
        key: String,
        settings: &SessionSettings,
        f: impl FnOnce(&mut Resolver<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut inner = Resolver::new(settings, self.catalog);
        inner.ids.set(self.ids.get());
        inner.depth = self.depth;
        inner.views = self.views.iter().cloned().chain([key]).collect();
        let out = f(&mut inner);
        self.ids.set(inner.ids.get());
        out
    }

    /// The columns of the query right around this one, when this one is a subquery.
    pub(crate) fn outer_scope(&self) -> Option<&[Attribute]> {
        self.outer.last().map(Vec::as_slice)
    }

    /// The named query visible as `name`.
    pub(crate) fn cte(&self, name: &str) -> Option<Rc<CteNode>> {
        let case = self.name_case();
        let mut env = self.ctes.clone();
        while let Some(node) = env {
            if case.same(&node.name, name) {
                return Some(node);
            }
            env = node.parent.clone();
        }
        None
    }
}
