//! What a value may be, in the words of JSON Schema.

use serde_json::Value;
use utoipa::openapi::{
    RefOr,
    schema::{Array, Object, Schema, SchemaFormat, SchemaType, Type},
};

/// What a value may be. What is left out is not said.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    format: Option<&'static str>,
    pattern: Option<&'static str>,
    /// For an id: what stands before the underscore.
    prefix: Option<&'static str>,
    /// Characters or items.
    least: Option<usize>,
    most: Option<usize>,
    range: Option<(i64, i64)>,
    one_of: &'static [&'static str],
    unique: bool,
}

/// Of which nothing is said yet.
const SILENT: Rule = Rule {
    format: None,
    pattern: None,
    prefix: None,
    least: None,
    most: None,
    range: None,
    one_of: &[],
    unique: false,
};

/// Text without a rule.
pub(super) const fn any_text() -> Rule {
    SILENT
}

/// Text that fits a pattern.
pub(super) const fn text(pattern: &'static str) -> Rule {
    Rule { pattern: Some(pattern), ..SILENT }
}

/// Text in a format that schemas know by name.
pub(super) const fn formatted(format: &'static str) -> Rule {
    Rule { format: Some(format), ..SILENT }
}

/// An id, by its prefix.
pub(super) const fn id(prefix: &'static str) -> Rule {
    Rule { prefix: Some(prefix), ..SILENT }
}

/// A number within the inclusive range.
pub(super) const fn number(least: i64, most: i64) -> Rule {
    Rule { range: Some((least, most)), ..SILENT }
}

/// One of these words.
pub(super) const fn one_of(words: &'static [&'static str]) -> Rule {
    Rule { one_of: words, ..SILENT }
}

/// At most so many items.
pub(super) const fn list(most: usize) -> Rule {
    Rule { most: Some(most), ..SILENT }
}

impl Rule {
    pub(super) const fn least(self, least: usize) -> Self {
        Self { least: Some(least), ..self }
    }

    pub(super) const fn most(self, most: usize) -> Self {
        Self { most: Some(most), ..self }
    }

    pub(super) const fn pattern(self, pattern: &'static str) -> Self {
        Self { pattern: Some(pattern), ..self }
    }

    /// No item twice.
    pub(super) const fn unique(self) -> Self {
        Self { unique: true, ..self }
    }

    /// Says it of a schema; false where there is none of its own.
    pub(super) fn put(self, schema: &mut RefOr<Schema>) -> bool {
        match schema {
            RefOr::T(Schema::Object(object)) => self.put_value(object),
            RefOr::T(Schema::Array(array)) => self.put_list(array),
            RefOr::T(_) | RefOr::Ref(_) => return false,
        }
        true
    }

    fn put_value(self, object: &mut Object) {
        if let Some(format) = self.format {
            object.format = Some(SchemaFormat::Custom(format.to_owned()));
        }
        if let Some(pattern) = self.pattern {
            object.pattern = Some(pattern.to_owned());
        }
        if let Some(prefix) = self.prefix {
            object.pattern = Some(format!("^{prefix}_[0-9a-f]{{32}}$"));
        }
        object.min_length = self.least.or(object.min_length);
        object.max_length = self.most.or(object.max_length);
        if let Some((least, most)) = self.range {
            object.minimum = Some(least.into());
            object.maximum = Some(most.into());
        }
        if !self.one_of.is_empty() {
            let mut words: Vec<Value> = self.one_of.iter().map(|word| Value::from(*word)).collect();
            if may_be_null(&object.schema_type) {
                words.push(Value::Null);
            }
            object.enum_values = Some(words);
        }
    }

    fn put_list(self, array: &mut Array) {
        array.min_items = self.least.or(array.min_items);
        array.max_items = self.most.or(array.max_items);
        array.unique_items |= self.unique;
    }
}

fn may_be_null(kind: &SchemaType) -> bool {
    matches!(kind, SchemaType::Array(kinds) if kinds.contains(&Type::Null))
}

/// Takes `null` out of what a value may be.
pub(super) fn never_null(schema: &mut RefOr<Schema>) {
    let RefOr::T(Schema::Object(object)) = schema else { return };
    let SchemaType::Array(kinds) = &object.schema_type else { return };
    let others: Vec<Type> = kinds.iter().filter(|kind| **kind != Type::Null).cloned().collect();
    if let [only] = others.as_slice() {
        object.schema_type = SchemaType::Type(only.clone());
    }
}

/// Whether nothing is said of a text yet.
pub(super) fn is_any_text(schema: &RefOr<Schema>) -> bool {
    let RefOr::T(Schema::Object(object)) = schema else { return false };
    let text = match &object.schema_type {
        SchemaType::Type(kind) => *kind == Type::String,
        SchemaType::Array(kinds) => kinds.contains(&Type::String),
        SchemaType::AnyValue => false,
    };
    text && object.pattern.is_none() && object.enum_values.is_none() && object.format.is_none()
}
