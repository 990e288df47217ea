//! The part of the template language that businesses can use. What is left out makes a few words grow without
//! end, which no limit on the steps of a template would notice: each step may double a text. So nothing can be
//! kept, added or called; what there is can be shown, chosen and repeated.

use domain::message_template::Part;
use minijinja::{
    machinery::{
        Span, Token,
        ast::{BinOpKind, CallArg, Expr, Stmt},
        parse, tokenize,
    },
    syntax::SyntaxConfig,
};

use super::{TEMPLATES, file_of, guest::VARIABLES, suffix_of};

const FILTERS: [&str; 11] = [
    "upper",
    "lower",
    "title",
    "capitalize",
    "trim",
    "default",
    "d",
    "length",
    "count",
    "first",
    "last",
];
const TESTS: [&str; 8] =
    ["defined", "undefined", "none", "string", "startingwith", "endingwith", "odd", "even"];
/// Whoever reads a template goes as deep as it is nested, and the stack of a thread is small.
/// A step costs as much as the text that it is about is long.
const LONGEST_TEXT: usize = 200;
/// What a guest answered.
const REPEATED: &str = "said";
const LONGEST_TAG: usize = 80;
const DEEPEST: usize = 20;
const MOST_ELIFS: usize = 40;

/// What is wrong, and where.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) line: usize,
    pub(super) reason: String,
}

type Checked = Result<(), Fault>;

fn fault(span: Span, reason: impl Into<String>) -> Checked {
    Err(Fault { line: span.start_line.into(), reason: reason.into() })
}

fn of_the_engine(error: &minijinja::Error) -> Fault {
    Fault { line: error.line().unwrap_or(1), reason: super::own::said(error) }
}

/// Whether the words of a part are of the language, and name only what there is.
pub(super) fn check(part: Part, source: &str) -> Checked {
    check_depth(source)?;
    let parsed = parse(source, file_of(part), SyntaxConfig::default());
    let parsed = parsed.map_err(|error| of_the_engine(&error))?;
    Checker { suffix: suffix_of(part), bound: vec![] }.statement(&parsed)
}

/// Before anything is parsed: that goes as deep, too.
fn check_depth(source: &str) -> Checked {
    let (mut length, mut depth, mut elifs) = (0, 0_usize, 0);
    let mut begun = false;
    for token in tokenize(source, false, SyntaxConfig::default()) {
        let (token, span) = token.map_err(|error| of_the_engine(&error))?;
        let begins = matches!(token, Token::BlockStart);
        let fresh = matches!(token, Token::VariableStart | Token::TemplateData(_));
        length = if begins || fresh { 0 } else { length + 1 };
        if let (true, Token::Ident(name)) = (begun, &token) {
            match *name {
                "if" | "for" | "block" => depth += 1,
                "elif" => elifs += 1,
                "endif" | "endfor" | "endblock" => depth = depth.saturating_sub(1),
                "else" | "include" | "extends" => {}
                other => {
                    let known = "if, for, block, include and extends are";
                    return fault(span, format!("`{other}` is not known here; {known}"));
                }
            }
        }
        begun = begins;
        if length > LONGEST_TAG {
            return fault(span, "there is too much between one pair of braces");
        }
        if depth > DEEPEST || elifs > MOST_ELIFS {
            return fault(span, "this is nested too deeply");
        }
    }
    Ok(())
}

struct Checker<'s> {
    /// Of the templates of ours that can be included.
    suffix: &'static str,
    /// The names that loops around give.
    bound: Vec<&'s str>,
}

impl<'s> Checker<'s> {
    fn all(&mut self, statements: &[Stmt<'s>]) -> Checked {
        statements.iter().try_for_each(|statement| self.statement(statement))
    }

    fn statement(&mut self, statement: &Stmt<'s>) -> Checked {
        let odd = |span| fault(span, "this is not known here");
        match statement {
            Stmt::Template(template) => self.all(&template.children),
            Stmt::EmitRaw(_) => Ok(()),
            Stmt::EmitExpr(emitted) => self.value(&emitted.expr),
            Stmt::IfCond(choice) => {
                self.value(&choice.expr)?;
                self.all(&choice.true_body)?;
                self.all(&choice.false_body)
            }
            Stmt::ForLoop(repeated) => {
                if repeated.recursive {
                    return fault(repeated.span(), "a loop cannot be recursive here");
                }
                // Letters of a text would be many, and so would be what is done with each of them.
                if !matches!(&repeated.iter, Expr::Var(name) if name.id == REPEATED) {
                    return fault(
                        repeated.span(),
                        format!("only `{REPEATED}` can be repeated here"),
                    );
                }
                let around = self.bound.len();
                self.bind(&repeated.target)?;
                self.bound.push("loop");
                if let Some(condition) = &repeated.filter_expr {
                    self.value(condition)?;
                }
                self.all(&repeated.body)?;
                self.bound.truncate(around);
                self.all(&repeated.else_body)
            }
            Stmt::Block(block) => self.all(&block.body),
            Stmt::Include(include) => self.ours(&include.name),
            Stmt::Extends(extends) => self.ours(&extends.name),
            Stmt::WithBlock(other) => odd(other.span()),
            Stmt::Set(other) => odd(other.span()),
            Stmt::SetBlock(other) => odd(other.span()),
            Stmt::AutoEscape(other) => odd(other.span()),
            Stmt::FilterBlock(other) => odd(other.span()),
            Stmt::Import(other) => odd(other.span()),
            Stmt::FromImport(other) => odd(other.span()),
            Stmt::Macro(other) => odd(other.span()),
            Stmt::CallBlock(other) => odd(other.span()),
            Stmt::Do(other) => odd(other.span()),
        }
    }

    fn bind(&mut self, target: &Expr<'s>) -> Checked {
        if let Expr::Var(name) = target {
            self.bound.push(name.id);
            return Ok(());
        }
        let names = if let Expr::List(names) = target {
            &names.items
        } else if let Expr::Tuple(names) = target {
            &names.items
        } else {
            return fault(target.span(), "a loop gives names here, such as `answer`");
        };
        names.iter().try_for_each(|name| self.bind(name))
    }

    /// The name of a template of ours, in the same form.
    fn ours(&self, name: &Expr<'s>) -> Checked {
        let named = name.as_const();
        let named = named.as_ref().and_then(|name| name.as_str()).unwrap_or_default();
        if named.ends_with(self.suffix) && TEMPLATES.iter().any(|(ours, _)| *ours == named) {
            return Ok(());
        }
        let all: Vec<&str> = TEMPLATES.iter().map(|(name, _)| *name).collect();
        let all: Vec<&str> = all.into_iter().filter(|name| name.ends_with(self.suffix)).collect();
        fault(name.span(), format!("must be the name of one of ours: {}", all.join(", ")))
    }

    fn value(&self, value: &Expr<'s>) -> Checked {
        match value {
            Expr::Const(constant) => {
                let long = constant.value.as_str().is_some_and(|text| text.len() > LONGEST_TEXT);
                let rule = format!("a text in quotes has at most {LONGEST_TEXT} bytes here");
                if long { fault(constant.span(), rule) } else { Ok(()) }
            }
            Expr::Var(name) if self.bound.contains(&name.id) || VARIABLES.contains(&name.id) => {
                Ok(())
            }
            Expr::Var(name) => fault(name.span(), format!("there is no `{}` here", name.id)),
            Expr::UnaryOp(operation) => self.value(&operation.expr),
            Expr::BinOp(operation) if chooses(operation.op) => {
                self.value(&operation.left)?;
                self.value(&operation.right)
            }
            Expr::BinOp(operation) => {
                fault(operation.span(), "nothing can be added or multiplied here")
            }
            Expr::Compare(compared) => {
                self.value(&compared.expr)?;
                compared.ops.iter().try_for_each(|other| self.value(&other.expr))
            }
            Expr::IfExpr(choice) => {
                self.value(&choice.test_expr)?;
                self.value(&choice.true_expr)?;
                choice.false_expr.iter().try_for_each(|other| self.value(other))
            }
            Expr::Filter(filter) => {
                if !FILTERS.contains(&filter.name) {
                    return fault(filter.span(), unknown("filter", filter.name, &FILTERS));
                }
                filter.expr.iter().try_for_each(|value| self.value(value))?;
                self.arguments(&filter.args)
            }
            Expr::Test(test) => {
                if !TESTS.contains(&test.name) {
                    return fault(test.span(), unknown("test", test.name, &TESTS));
                }
                self.value(&test.expr)?;
                self.arguments(&test.args)
            }
            Expr::GetAttr(of) => self.value(&of.expr),
            Expr::GetItem(of) => {
                self.value(&of.expr)?;
                self.value(&of.subscript_expr)
            }
            Expr::Call(call) if is_super(&call.expr) && call.args.is_empty() => Ok(()),
            Expr::Call(call) => fault(call.span(), "nothing but super() can be called here"),
            Expr::Slice(_) | Expr::List(_) | Expr::Tuple(_) | Expr::Map(_) => {
                fault(value.span(), "lists cannot be made here")
            }
        }
    }

    fn arguments(&self, arguments: &[CallArg<'s>]) -> Checked {
        arguments.iter().try_for_each(|argument| match argument {
            CallArg::Pos(value) | CallArg::Kwarg(_, value) => self.value(value),
            CallArg::PosSplat(value) | CallArg::KwargSplat(value) => {
                fault(value.span(), "arguments cannot be spread here")
            }
        })
    }
}

/// Whether what comes out is no more than what went in.
const fn chooses(operation: BinOpKind) -> bool {
    match operation {
        BinOpKind::Eq
        | BinOpKind::Ne
        | BinOpKind::Lt
        | BinOpKind::Lte
        | BinOpKind::Gt
        | BinOpKind::Gte
        | BinOpKind::In
        | BinOpKind::ScAnd
        | BinOpKind::ScOr => true,
        BinOpKind::Add
        | BinOpKind::Sub
        | BinOpKind::Mul
        | BinOpKind::Div
        | BinOpKind::FloorDiv
        | BinOpKind::Rem
        | BinOpKind::Pow
        | BinOpKind::Concat => false,
    }
}

fn is_super(called: &Expr<'_>) -> bool {
    matches!(called, Expr::Var(name) if name.id == "super")
}

fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    format!("the {what} `{name}` is not known here; {} are", known.join(", "))
}
