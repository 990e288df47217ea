//! Tables in Markdown, and their places in a document.

use anyhow::{Context, Result};

/// A table with what is to be said about it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
    notes: Vec<String>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        let head = head.iter().map(|cell| (*cell).to_owned()).collect();
        Self { head, ..Self::default() }
    }

    pub(crate) fn row(&mut self, cells: &[&str]) {
        self.rows.push(cells.iter().map(|cell| cell.replace('|', "\\|")).collect());
    }

    /// A line below the table.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Columns as wide as their widest cell, so that the text reads as well as the page.
    pub(crate) fn markdown(&self) -> String {
        let width = |i: usize| {
            let cells = self.rows.iter().chain([&self.head]).filter_map(|row| row.get(i));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(3)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let line = |row: &[String]| {
            let cells = widths.iter().enumerate().map(|(i, width)| {
                let cell = row.get(i).map_or("", String::as_str);
                format!(" {cell:<width$} ")
            });
            format!("|{}|\n", cells.collect::<Vec<_>>().join("|"))
        };
        let mut text = String::new();
        if !self.rows.is_empty() {
            text.push_str(&line(&self.head));
            let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            text.push_str(&line(&rule));
            for row in &self.rows {
                text.push_str(&line(row));
            }
        }
        if !self.notes.is_empty() {
            if !text.is_empty() {
                text.push('\n');
            }
            for note in &self.notes {
                text.push_str(&format!("- {note}\n"));
            }
        }
        text
    }
}

/// Puts `text` between the markers of `name`, in place of what stood there.
///
/// # Errors
/// When the document has no such markers.
pub(crate) fn place(document: &str, name: &str, text: &str) -> Result<String> {
    let (open, close) = (format!("<!-- bench:{name} -->"), format!("<!-- /bench:{name} -->"));
    let (before, rest) =
        document.split_once(&open).with_context(|| format!("there is no marker {open}"))?;
    let (_, after) =
        rest.split_once(&close).with_context(|| format!("there is no marker {close}"))?;
    Ok(format!("{before}{open}\n\n{}\n\n{close}{after}", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_and_its_notes_follow() {
        let mut table = Table::new(&["what", "rate"]);
        table.row(&["booking, 8 clients", "1,234/s"]);
        table.row(&["a|b", "9"]);
        table.note("measured");
        assert_eq!(
            table.markdown(),
            "| what               | rate    |\n\
             | ------------------ | ------- |\n\
             | booking, 8 clients | 1,234/s |\n\
             | a\\|b               | 9       |\n\
             \n\
             - measured\n"
        );
    }

    #[test]
    fn a_table_without_rows_is_only_its_notes() {
        let mut table = Table::new(&["what"]);
        table.note("not available in this build");
        assert_eq!(table.markdown(), "- not available in this build\n");
    }

    #[test]
    fn a_table_takes_the_place_between_its_markers() {
        let document = "prose\n<!-- bench:a -->\nold\n<!-- /bench:a -->\nmore\n";
        let placed = place(document, "a", "new\n").unwrap();
        assert_eq!(placed, "prose\n<!-- bench:a -->\n\nnew\n\n<!-- /bench:a -->\nmore\n");
        assert_eq!(place(&placed, "a", "new").unwrap(), placed);
        assert!(place(document, "b", "new").is_err());
    }
}
