//! Reads a query, and refuses the parts of the language that are not supported.

use std::time::Duration;

use promql_parser::{
    label::{Matcher, Matchers},
    parser::{
        self, AggregateExpr, BinModifier, BinaryExpr, Call, Expr, LabelModifier, Offset,
        VectorMatchCardinality, VectorSelector,
    },
    util::parse_duration,
};

use super::{
    Fault, NAME,
    expression::{
        AGGREGATIONS, Aggregate, Binary, Expression, FUNCTIONS, Grouping, Many, Matching, OPERATORS,
        OverTime, Query, Selector, Window,
    },
};

/// The supported parts of the language, for errors.
const SUPPORTED: &str = "supported are selectors with a range and offset; rate, increase and, before _over_time, sum, avg, min, \
    max, count, last, present, absent, stddev, stdvar, quantile; sum, avg, min, max, count, topk, bottomk with by or without; \
    + - * / % ^ atan2 and == != < <= > >= with bool, on, ignoring, group_left and group_right";

/// The most bytes of a query.
const MAX_BYTES: usize = 64 * 1024;

/// The most bytes of a query outside of quotation marks. They bound the depth of its tree, which is freed recursively.
const MAX_CODE: usize = 4 * 1024;

/// The deepest nesting of a query.
const MAX_DEPTH: usize = 100;

/// The longest range, offset or step: 100 years, in milliseconds.
const MAX_SPAN: i64 = 36_525 * 86_400_000;

/// Reads a query.
pub(crate) fn parse(text: &str) -> Result<Query, Fault> {
    let mut reader = Reader { selectors: vec![], depth: 0 };
    let root = match without_parentheses(syntax(text)?) {
        Expr::MatrixSelector(range) => {
            Expression::Range(reader.selector(range.vs, Window::Range(millis(range.range)?))?)
        }
        other => reader.expression(other)?,
    };
    Ok(Query { root, selectors: reader.selectors })
}

/// Reads a selector without a range or an offset: the `match[]` of lists.
pub(crate) fn parse_selector(text: &str) -> Result<Vec<Matcher>, Fault> {
    match syntax(text)? {
        Expr::VectorSelector(VectorSelector { name, matchers, offset: None, at: None }) => {
            all_matchers(name, matchers)
        }
        _ => Err(Fault::bad_data(format!("match[]: {text:?}: a selector such as hits_total{{key=\"a\"}}"))),
    }
}

fn syntax(text: &str) -> Result<Expr, Fault> {
    if text.trim().is_empty() {
        return Err(Fault::bad_data("query: no expression"));
    }
    let code = code(text);
    if text.len() > MAX_BYTES || code.len() > MAX_CODE {
        let found = format!("{} bytes, {} of them outside of quotation marks", text.len(), code.len());
        return Err(Fault::bad_data(format!("query of {found}: at most {MAX_BYTES} and {MAX_CODE}")));
    }
    if let Some(span) = spans(&code).find(|span| !is_span(span)) {
        return Err(Fault::bad_data(format!(
            "query: {span:?}: a range or offset such as 5m, or 300 for seconds"
        )));
    }
    parser::parse(text).map_err(|why| Fault::bad_data(format!("query: {why}")))
}

/// The part of a text outside of quotation marks.
fn code(text: &str) -> String {
    let (mut quote, mut escaped, mut code) = (None, false, String::new());
    for letter in text.chars() {
        match quote {
            _ if escaped => escaped = false,
            Some(_) if letter == '\\' && quote != Some('`') => escaped = true,
            Some(open) if open == letter => quote = None,
            Some(_) => {}
            None => {
                quote = Some(letter).filter(|letter| matches!(letter, '"' | '\'' | '`'));
                code.push(letter);
            }
        }
    }
    code
}

/// The texts that stand for ranges and offsets.
fn spans(code: &str) -> impl Iterator<Item = &str> {
    let in_brackets = code.split('[').skip(1).filter_map(|rest| rest.split(']').next());
    let offsets =
        code.split("offset").skip(1).filter(|rest| rest.starts_with([' ', '\t', '\n', '\r', '-', '+']));
    let offsets = offsets.map(|rest| {
        let rest = rest.trim_start().trim_start_matches(['-', '+']).trim_start();
        rest.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '.').next().unwrap_or_default()
    });
    in_brackets.flat_map(|range| range.split(':')).chain(offsets)
}

/// Whether this may be a span. The parser panics at numbers that a `Duration` cannot have, and reads a part of more than 32
/// bits as nothing.
fn is_span(text: &str) -> bool {
    let is_part =
        |letter: char| letter.is_ascii_digit() || letter.is_whitespace() || "ywdhms.".contains(letter);
    text.chars().all(is_part)
        && text.split(|letter: char| !letter.is_ascii_digit()).all(|digits| digits.len() <= 9)
}

/// A span such as `1h30m`.
pub(crate) fn parse_span(text: &str) -> Option<Duration> {
    let may_be = text.starts_with(|letter: char| letter.is_ascii_digit()) && is_span(text);
    if may_be { parse_duration(text).ok() } else { None }
}

struct Reader {
    selectors: Vec<Selector>,
    depth: usize,
}

impl Reader {
    fn expression(&mut self, expression: Expr) -> Result<Expression, Fault> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Fault::bad_data(format!("query: it nests more than {MAX_DEPTH} levels deep")));
        }
        let read = match expression {
            Expr::NumberLiteral(number) => Ok(Expression::Number(number.val)),
            Expr::Paren(inner) => self.expression(*inner.expr),
            Expr::Unary(negated) => Ok(Expression::Negation(Box::new(self.expression(*negated.expr)?))),
            Expr::VectorSelector(selector) => {
                Ok(Expression::Instant(self.selector(selector, Window::Lookback)?))
            }
            Expr::Call(call) => self.call(call),
            Expr::Aggregate(aggregation) => self.aggregation(aggregation),
            Expr::Binary(binary) => self.binary(binary),
            Expr::Subquery(_) => Err(unsupported("subqueries")),
            Expr::StringLiteral(_) => Err(unsupported("strings")),
            Expr::MatrixSelector(_) => {
                Err(Fault::bad_data("query: a range such as [5m] outside of a function"))
            }
            Expr::Extension(_) => Err(unsupported("extensions")),
        };
        self.depth -= 1;
        read
    }

    /// The position of a selector, which is added unless the query has it already.
    fn selector(&mut self, selector: VectorSelector, window: Window) -> Result<usize, Fault> {
        let VectorSelector { name, matchers, offset, at } = selector;
        if at.is_some() {
            return Err(unsupported("the modifier @"));
        }
        let offset = match offset {
            None => 0,
            Some(Offset::Pos(offset)) => millis(offset)?,
            Some(Offset::Neg(offset)) => -millis(offset)?,
        };
        let selector = Selector { matchers: all_matchers(name, matchers)?, offset, window };
        let known = self.selectors.iter().position(|known| *known == selector);
        Ok(known.unwrap_or_else(|| {
            self.selectors.push(selector);
            self.selectors.len() - 1
        }))
    }

    fn call(&mut self, call: Call) -> Result<Expression, Fault> {
        let name = call.func.name;
        let Some((_, function)) = FUNCTIONS.iter().find(|(known, _)| *known == name) else {
            return Err(unsupported(&format!("the function {name}")));
        };
        let (mut range, mut parameter) = (None, None);
        for argument in call.args.args {
            match without_parentheses(*argument) {
                Expr::MatrixSelector(selector) => range = Some(selector),
                Expr::Subquery(_) => return Err(unsupported("subqueries")),
                other => parameter = Some(Box::new(self.expression(other)?)),
            }
        }
        let range =
            range.ok_or_else(|| Fault::bad_data(format!("query: {name} needs a range such as [5m]")))?;
        if parameter.is_some() != (*function == OverTime::Quantile) {
            return Err(Fault::bad_data(format!("query: {name}: wrong number of arguments")));
        }
        let selector = self.selector(range.vs, Window::Range(millis(range.range)?))?;
        Ok(Expression::OverTime { function: *function, selector, parameter })
    }

    fn aggregation(&mut self, aggregation: AggregateExpr) -> Result<Expression, Fault> {
        let AggregateExpr { op, expr, param, modifier } = aggregation;
        let name = op.to_string();
        let Some((_, operator)) = AGGREGATIONS.iter().find(|(known, _)| *known == name) else {
            return Err(unsupported(&format!("the aggregation {name}")));
        };
        let parameter = param.map(|param| self.expression(*param)).transpose()?.map(Box::new);
        if parameter.is_some() != matches!(operator, Aggregate::Top | Aggregate::Bottom) {
            return Err(Fault::bad_data(format!("query: {name}: wrong number of arguments")));
        }
        let grouping = modifier.map_or(Grouping::By(vec![]), grouping);
        Ok(Expression::Aggregation {
            operator: *operator,
            parameter,
            grouping,
            of: Box::new(self.expression(*expr)?),
        })
    }

    fn binary(&mut self, binary: BinaryExpr) -> Result<Expression, Fault> {
        let BinaryExpr { op, lhs, rhs, modifier } = binary;
        let name = op.to_string();
        let Some((_, operator)) = OPERATORS.iter().find(|(known, _)| *known == name) else {
            return Err(unsupported(&format!("the operator {name}")));
        };
        let BinModifier { card, matching, return_bool, fill_values } = modifier.unwrap_or_default();
        if fill_values.lhs.is_some() || fill_values.rhs.is_some() {
            return Err(unsupported("fill"));
        }
        let many = match card {
            VectorMatchCardinality::ManyToOne(labels) => Many::Left(labels.labels),
            VectorMatchCardinality::OneToMany(labels) => Many::Right(labels.labels),
            _ => Many::Neither,
        };
        let labels = match matching.map_or(Grouping::Without(vec![]), grouping) {
            Grouping::Without(mut labels) => {
                labels.push(NAME.to_owned());
                Grouping::Without(labels)
            }
            on @ Grouping::By(_) => on,
        };
        let (left, right) = (self.expression(*lhs)?, self.expression(*rhs)?);
        let matching = Matching { labels, many };
        let binary = Binary { operator: *operator, as_number: return_bool, matching, left, right };
        Ok(Expression::Binary(Box::new(binary)))
    }
}

fn all_matchers(name: Option<String>, matchers: Matchers) -> Result<Vec<Matcher>, Fault> {
    let Matchers { mut matchers, or_matchers } = matchers;
    if !or_matchers.is_empty() {
        return Err(unsupported("or between the conditions of a selector"));
    }
    if let Some(name) = name {
        matchers.push(Matcher::new_metric_name_matcher(name).map_err(Fault::bad_data)?);
    }
    Ok(matchers)
}

fn grouping(modifier: LabelModifier) -> Grouping {
    match modifier {
        LabelModifier::Include(labels) => Grouping::By(labels.labels),
        LabelModifier::Exclude(labels) => Grouping::Without(labels.labels),
    }
}

fn without_parentheses(mut expression: Expr) -> Expr {
    while let Expr::Paren(inner) = expression {
        expression = *inner.expr;
    }
    expression
}

fn millis(span: Duration) -> Result<i64, Fault> {
    let millis = i64::try_from(span.as_millis()).ok().filter(|millis| *millis <= MAX_SPAN);
    millis.ok_or_else(|| Fault::bad_data("query: a range or offset of more than 100 years"))
}

fn unsupported(what: &str) -> Fault {
    Fault::bad_data(format!("{what}: not supported; {SUPPORTED}"))
}
