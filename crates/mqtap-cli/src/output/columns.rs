//! Tables whose columns are as wide as they need to be.

use std::fmt::Write;

use super::harmless;

/// To which side a column is flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A table. Columns of which every cell is empty are left out, with their title.
#[derive(Debug)]
pub(crate) struct Columns {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
    gap: &'static str,
}

impl Columns {
    pub(crate) fn new<const N: usize>(columns: [(&'static str, Align); N]) -> Self {
        Self { columns: columns.into(), rows: Vec::new(), gap: "  " }
    }

    /// Adds a row. Cells that are missing are empty.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| harmless(&cell)).into());
    }

    /// One space between columns, rather than two.
    pub(crate) fn narrow(mut self) -> Self {
        self.gap = " ";
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table, each line behind `indent`.
    pub(crate) fn render(&self, indent: &str) -> String {
        let cell = |row: &Vec<String>, column: usize| row.get(column).cloned().unwrap_or_default();
        let length = |text: &str| text.chars().count();
        let shown: Vec<(usize, usize)> = (0..self.columns.len())
            .filter_map(|column| {
                let widest = self.rows.iter().map(|row| length(&cell(row, column))).max().unwrap_or(0);
                (widest > 0).then(|| (column, widest.max(length(self.columns[column].0))))
            })
            .collect();
        let mut text = String::new();
        let mut line = |cells: &dyn Fn(usize) -> String| {
            let mut line = indent.to_owned();
            for (number, &(column, width)) in shown.iter().enumerate() {
                let gap = if number == 0 { "" } else { self.gap };
                // Writing to a string cannot fail.
                let _ = match self.columns[column].1 {
                    Align::Left => write!(line, "{gap}{:<width$}", cells(column)),
                    Align::Right => write!(line, "{gap}{:>width$}", cells(column)),
                };
            }
            text.push_str(line.trim_end());
            text.push('\n');
        };
        line(&|column| self.columns[column].0.to_owned());
        self.rows.iter().for_each(|row| line(&|column| cell(row, column)));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_empty_ones_are_left_out() {
        let mut columns = Columns::new([
            ("NAME", Align::Left),
            ("NOTE", Align::Left),
            ("MTU", Align::Right),
            ("BY", Align::Left),
        ]);
        columns.row(["tap0".into(), String::new(), "1500".into(), "qemu".into()]);
        columns.row(["macvtap12".into(), String::new(), "68".into()]);
        let expected = "  NAME        MTU  BY\n  tap0       1500  qemu\n  macvtap12    68\n";
        assert_eq!(columns.render("  "), expected);
        columns.row(["tap1".into(), String::new(), String::new(), "\x1b[2Jrm".into()]);
        assert!(!columns.render("").contains('\x1b'));
    }
}
