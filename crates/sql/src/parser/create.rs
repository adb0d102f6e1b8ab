//! `CREATE`: tables, views, streaming tables, materialized views, flows, namespaces.
//!
//! `OPTIONS`, `LOCATION` and `OR REFRESH` of streaming tables and materialized views are
//! Millstream's own; Spark takes only `TBLPROPERTIES` there, which works too.

use super::{Parser, Result};
use crate::error::SqlError;
use crate::ir::{
    ColumnDef, Command, CreateDataset, CreateTable, CreateView, DatasetKind, Expr, Ident, InsertMode, ObjectName, PartitionField,
    TableClauses, ViewColumn, ViewKind,
};
use crate::lexer::TokenKind;
use crate::span::Span;

fn refuse_both(or_replace: bool, if_not_exists: bool, start: Span) -> Result<()> {
    if or_replace && if_not_exists {
        return Err(SqlError::syntax("OR REPLACE and IF NOT EXISTS exclude each other", start));
    }
    Ok(())
}

impl Parser<'_> {
    /// `CREATE ...`
    pub(super) fn create(&mut self) -> Result<Command> {
        let start = self.expect_word("CREATE")?;
        let replace_at = self.peek().span;
        let or_replace = self.take_words(&["OR", "REPLACE"]);
        let or_refresh = !or_replace && self.take_words(&["OR", "REFRESH"]);
        let only_datasets = |p: &Self| {
            if or_refresh {
                Err(SqlError::syntax("OR REFRESH is only for streaming tables and materialized views", p.span_from(replace_at)))
            } else {
                Ok(())
            }
        };
        if self.take_words(&["STREAMING", "TABLE"]) {
            return self.create_dataset(DatasetKind::StreamingTable, or_replace || or_refresh, start);
        }
        if self.take_words(&["MATERIALIZED", "VIEW"]) {
            return self.create_dataset(DatasetKind::MaterializedView, or_replace || or_refresh, start);
        }
        if self.take_word("FLOW") {
            only_datasets(self)?;
            return self.create_flow(start);
        }
        only_datasets(self)?;
        let global = self.take_word("GLOBAL");
        let temporary_at = self.peek().span;
        let temporary = self.take_word("TEMPORARY") || self.take_word("TEMP");
        if self.take_word("VIEW") {
            let kind = match (global, temporary) {
                (false, false) => ViewKind::Permanent,
                (false, true) => ViewKind::Temporary,
                (true, true) => ViewKind::GlobalTemporary,
                (true, false) => return Err(SqlError::syntax("expected GLOBAL TEMPORARY VIEW", temporary_at)),
            };
            return self.create_view(kind, or_replace, start);
        }
        let external = self.take_word("EXTERNAL");
        if !global && !temporary && self.take_word("TABLE") {
            return self.create_table(or_replace, external, start);
        }
        // Spark's old name of a temporary view over a data source.
        if !global && temporary && !external && self.at_word("TABLE") {
            self.next();
            return self.create_view(ViewKind::Temporary, or_replace, start);
        }
        if !external && self.at_any_word(&["DATABASE", "SCHEMA", "NAMESPACE"]) {
            self.next();
            return self.create_namespace(start);
        }
        if self.at_any_word(&["FUNCTION", "INDEX", "ROLE", "MACRO", "MODEL", "TABLE"]) {
            let what = if temporary { "TEMPORARY " } else { "" };
            let feature = format!("CREATE {what}{}", self.peek().text.to_uppercase());
            return Err(self.unsupported(&feature));
        }
        Err(self.unexpected_word(&["TABLE", "VIEW", "TEMPORARY", "STREAMING", "MATERIALIZED", "FLOW", "SCHEMA"]))
    }

    /// `REPLACE TABLE ...`
    pub(super) fn replace(&mut self) -> Result<Command> {
        self.expect_words(&["REPLACE", "TABLE"])?;
        Err(SqlError::unsupported("REPLACE TABLE without CREATE OR", self.previous_span()))
    }

    fn if_not_exists(&mut self) -> bool {
        self.take_words(&["IF", "NOT", "EXISTS"])
    }

    fn create_table(&mut self, or_replace: bool, external: bool, start: Span) -> Result<Command> {
        let if_not_exists = self.if_not_exists();
        refuse_both(or_replace, if_not_exists, start)?;
        let name = self.object_name()?;
        if self.at_word("LIKE") {
            return Err(self.unsupported("CREATE TABLE ... LIKE"));
        }
        let columns = self.column_defs()?;
        let clauses = self.clauses()?;
        let query = self.as_query()?;
        if let (Some(_), Some(first)) = (&query, columns.first()) {
            let message = "CREATE TABLE ... AS takes its columns from the query, a column list cannot stand beside it";
            return Err(SqlError::syntax(message, first.name.span));
        }
        Ok(Command::CreateTable(Box::new(CreateTable {
            name,
            or_replace,
            if_not_exists,
            external,
            columns,
            clauses,
            query,
            span: self.span_from(start),
        })))
    }

    fn create_dataset(&mut self, kind: DatasetKind, or_refresh: bool, start: Span) -> Result<Command> {
        let if_not_exists = self.if_not_exists();
        let name = self.object_name()?;
        let columns = self.column_defs()?;
        let clauses = self.clauses()?;
        let query = if self.take_word("AS") { Some(self.query()?) } else { None };
        if kind == DatasetKind::MaterializedView && query.is_none() {
            return Err(self.unexpected_word(&["AS", "USING", "PARTITIONED", "OPTIONS", "LOCATION", "TBLPROPERTIES", "COMMENT"]));
        }
        Ok(Command::CreateDataset(Box::new(CreateDataset {
            kind,
            name,
            or_refresh,
            if_not_exists,
            columns,
            clauses,
            query,
            span: self.span_from(start),
        })))
    }

    /// `FLOW name [COMMENT '...'] AS INSERT INTO target BY NAME query`; `FLOW` is taken.
    fn create_flow(&mut self, start: Span) -> Result<Command> {
        let name = self.object_name()?;
        let comment = self.take_comment()?;
        self.expect_word("AS")?;
        if self.at_words(&["AUTO", "CDC"]) {
            return Err(self.unsupported("CREATE FLOW ... AS AUTO CDC"));
        }
        let insert_at = self.peek().span;
        let insert = self.insert(insert_at)?;
        if insert.mode != InsertMode::Append || !insert.by_name || !insert.partition.is_empty() {
            return Err(SqlError::syntax("a flow must be INSERT INTO name BY NAME query", insert.span));
        }
        Ok(Command::CreateFlow { name, comment, target: insert.target, query: insert.query, span: self.span_from(start) })
    }

    /// A view over a query or, with `USING`, over a data source; `VIEW` is taken.
    fn create_view(&mut self, kind: ViewKind, or_replace: bool, start: Span) -> Result<Command> {
        let if_not_exists = self.if_not_exists();
        refuse_both(or_replace, if_not_exists, start)?;
        let name = self.object_name()?;
        // With a type behind its first name, the list is the schema of a data source.
        let typed = self.at_symbol("(") && matches!(self.peek_nth(2).kind, TokenKind::Word) && !self.peek_nth(2).is_word("COMMENT");
        if typed {
            self.next();
            let fields = self.column_types()?;
            self.expect_symbol(")")?;
            return self.create_view_using(name, kind, or_replace, Some(crate::ir::DataType::Struct(fields)), start);
        }
        if self.at_word("USING") {
            return self.create_view_using(name, kind, or_replace, None, start);
        }
        let columns = if self.at_symbol("(") { self.paren_list(Self::view_column)? } else { vec![] };
        let mut comment = None;
        let mut properties = vec![];
        loop {
            if self.at_word("COMMENT") {
                comment = self.take_comment()?;
            } else if self.take_word("TBLPROPERTIES") {
                properties = self.properties()?;
            } else if self.at_words(&["PARTITIONED", "ON"]) {
                return Err(self.unsupported("a partitioned view"));
            } else if self.at_words(&["WITH", "SCHEMA"]) {
                return Err(self.unsupported("WITH SCHEMA of a view"));
            } else if self.at_words(&["WITH", "METRICS"]) {
                return Err(self.unsupported("a metric view"));
            } else {
                break;
            }
        }
        if !self.at_word("AS") {
            return Err(self.unexpected_word(&["AS", "USING", "COMMENT", "TBLPROPERTIES"]));
        }
        self.next();
        let query_start = self.peek().span;
        let query = self.query()?;
        let query_text = self.text_of(self.span_from(query_start));
        let span = self.span_from(start);
        Ok(Command::CreateView(Box::new(CreateView {
            name,
            kind,
            or_replace,
            if_not_exists,
            columns,
            comment,
            properties,
            query,
            query_text,
            span,
        })))
    }

    fn create_view_using(
        &mut self,
        name: ObjectName,
        kind: ViewKind,
        or_replace: bool,
        schema: Option<crate::ir::DataType>,
        start: Span,
    ) -> Result<Command> {
        if kind == ViewKind::Permanent {
            return Err(SqlError::syntax("only a temporary view can be made with USING", self.peek().span));
        }
        self.expect_word("USING")?;
        let format = self.object_name()?.parts.join(".");
        let options = if self.take_word("OPTIONS") { self.properties()? } else { vec![] };
        let is_global = kind == ViewKind::GlobalTemporary;
        Ok(Command::CreateViewUsing { name, is_global, or_replace, schema, format, options, span: self.span_from(start) })
    }

    fn view_column(&mut self) -> Result<ViewColumn> {
        let name = self.plain_ident()?;
        let comment = self.take_comment()?;
        Ok(ViewColumn { name, comment })
    }

    fn create_namespace(&mut self, start: Span) -> Result<Command> {
        let if_not_exists = self.if_not_exists();
        let name = self.object_name()?;
        let mut comment = None;
        let mut location = None;
        let mut properties = vec![];
        loop {
            if self.at_word("COMMENT") {
                comment = self.take_comment()?;
            } else if self.take_word("LOCATION") {
                location = Some(self.string()?);
            } else if self.take_words(&["WITH", "DBPROPERTIES"]) || self.take_words(&["WITH", "PROPERTIES"]) {
                properties = self.properties()?;
            } else {
                break;
            }
        }
        Ok(Command::CreateNamespace { name, if_not_exists, comment, location, properties, span: self.span_from(start) })
    }

    /// `[AS] query`, if there is one.
    fn as_query(&mut self) -> Result<Option<crate::ir::Plan>> {
        let has_as = self.take_word("AS");
        let begins = self.at_any_word(&["SELECT", "WITH", "FROM", "VALUES", "TABLE"]) || self.at_symbol("(");
        if has_as || begins { self.query().map(Some) } else { Ok(None) }
    }

    /// The column list of a table, if there is one.
    fn column_defs(&mut self) -> Result<Vec<ColumnDef>> {
        if !self.at_symbol("(") || self.at_paren_query() {
            return Ok(vec![]);
        }
        self.paren_list(Self::column_def)
    }

    fn column_def(&mut self) -> Result<ColumnDef> {
        let next = self.peek_nth(1);
        let constraint = self.at_word("CONSTRAINT") && self.peek_nth(2).kind == TokenKind::Word
            || self.at_any_word(&["PRIMARY", "FOREIGN"]) && next.is_word("KEY")
            || self.at_any_word(&["CHECK", "UNIQUE"]) && next.is_symbol("(");
        if constraint {
            return Err(self.unsupported("a table constraint"));
        }
        let name = self.plain_ident()?;
        let data_type = self.data_type()?;
        let mut column = ColumnDef { name, data_type, nullable: true, comment: None, default: None, generated: None };
        loop {
            if self.at_word("COMMENT") {
                column.comment = self.take_comment()?;
            } else if self.at_word("NOT") {
                column.nullable = !self.take_not_null()?;
            } else if self.take_word("DEFAULT") {
                column.default = Some(self.nested(Self::value_expr)?);
            } else if self.at_words(&["GENERATED", "ALWAYS", "AS"]) && self.nth_is_symbol(3, "(") {
                self.skip(4);
                column.generated = Some(self.expr()?);
                self.expect_symbol(")")?;
            } else if self.at_word("GENERATED") {
                return Err(self.unsupported("an identity column"));
            } else if self.at_any_word(&["PRIMARY", "UNIQUE", "REFERENCES", "CHECK", "CONSTRAINT"]) {
                return Err(self.unsupported("a column constraint"));
            } else {
                return Ok(column);
            }
        }
    }

    /// `USING`, `OPTIONS`, `PARTITIONED BY`, `LOCATION`, `TBLPROPERTIES` and `COMMENT`, each once, in any order.
    fn clauses(&mut self) -> Result<TableClauses> {
        let mut clauses = TableClauses::default();
        let mut seen: Vec<&str> = vec![];
        loop {
            let token = self.peek();
            let word = match () {
                () if token.is_word("USING") => "USING",
                () if token.is_word("OPTIONS") && self.nth_is_symbol(1, "(") => "OPTIONS",
                () if token.is_word("PARTITIONED") => "PARTITIONED BY",
                () if token.is_word("LOCATION") => "LOCATION",
                () if token.is_word("TBLPROPERTIES") => "TBLPROPERTIES",
                () if token.is_word("COMMENT") => "COMMENT",
                () => {
                    self.other_clause()?;
                    return with_one_path(clauses);
                }
            };
            if seen.contains(&word) {
                return Err(SqlError::syntax(format!("{word} is given twice"), token.span));
            }
            seen.push(word);
            self.next();
            match word {
                "USING" => {
                    let name = self.object_name()?;
                    clauses.format = Some(Ident { name: name.parts.join("."), span: name.span });
                }
                "OPTIONS" => clauses.options = self.properties()?,
                "PARTITIONED BY" => {
                    self.expect_word("BY")?;
                    clauses.partitioned_by = self.paren_list(Self::partition_field)?;
                }
                "LOCATION" => clauses.location = Some(self.string()?),
                "TBLPROPERTIES" => clauses.properties = self.properties()?,
                _ => clauses.comment = Some(self.string()?),
            }
        }
    }

    /// Refuses the clauses of Spark that Millstream lacks; anything else is left to the caller.
    fn other_clause(&self) -> Result<()> {
        let refused: &[(&[&str], &str)] = &[
            (&["CLUSTER", "BY"], "CLUSTER BY of a table"),
            (&["CLUSTERED", "BY"], "CLUSTERED BY"),
            (&["SKEWED", "BY"], "SKEWED BY"),
            (&["ROW", "FORMAT"], "ROW FORMAT"),
            (&["FLOW", "AUTO", "CDC"], "FLOW AUTO CDC"),
            (&["STORED", "AS"], "STORED AS"),
            (&["STORED", "BY"], "STORED BY"),
            (&["DEFAULT", "COLLATION"], "DEFAULT COLLATION"),
        ];
        match refused.iter().find(|(words, _)| self.at_words(words)) {
            Some((_, feature)) => Err(self.unsupported(feature)),
            None => Ok(()),
        }
    }

    /// A column, a declared column or a transform of `PARTITIONED BY`.
    fn partition_field(&mut self) -> Result<PartitionField> {
        let next = self.peek_nth(1);
        if next.is_symbol("(") {
            let name = self.object_name()?;
            let start = name.span;
            let args = self.paren_list(|p| p.nested(Self::value_expr))?;
            return Ok(PartitionField::Transform(Expr::call_at(name.parts.join("."), args, self.span_from(start))));
        }
        if next.kind == TokenKind::Word {
            return Ok(PartitionField::Declared(Box::new(self.column_def()?)));
        }
        Ok(PartitionField::Column(self.object_name()?))
    }
}

/// One place has one path.
fn with_one_path(clauses: TableClauses) -> Result<TableClauses> {
    let path = clauses.options.iter().find(|p| p.key.eq_ignore_ascii_case("path"));
    match (&clauses.location, path) {
        (Some(location), Some(path)) => {
            let message = format!("LOCATION '{location}' and the option path '{}' are both given, one is enough", path.value);
            Err(SqlError::syntax(message, path.span))
        }
        _ => Ok(clauses),
    }
}
