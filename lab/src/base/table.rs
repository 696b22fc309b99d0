// SPDX-License-Identifier: GPL-2.0
//! A table for the terminal: cells side by side, without lines.

use comfy_table::{presets, Table};

/// A cell may have several lines.
pub fn table<C: ToString>(head: &[&str], rows: impl IntoIterator<Item = Vec<C>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(head);
    for row in rows {
        table.add_row(row.iter().map(ToString::to_string));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stand_side_by_side() {
        let rows = [vec!["long name", "a\nb"], vec!["x", "c"]];
        let text = table(&["name", "what"], rows);
        assert_eq!(
            text,
            "name       what\nlong name  a\n           b\nx          c"
        );
    }
}
