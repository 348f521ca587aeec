//! What a test file says of itself in the comments at its head, and the table of rows that
//! `aec test` prints of files that belong to one.

use std::fmt::Write as _;

/// `# key: value` lines at the head of a file.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Header {
    /// `# row: A1`
    pub row: Option<String>,
    /// `# reference: 0.738 (0.695-0.776)`
    pub reference: Option<String>,
    /// `# slow: 5 min`
    pub slow: Option<String>,
    /// `# needs: ../shared/data/mnist`
    pub needs: Vec<String>,
    /// `# tolerance: 1e-3`
    pub tolerance: Option<f64>,
}

impl Header {
    /// Reads the comment lines that a file starts with.
    pub fn parse(text: &str) -> Header {
        let mut header = Header::default();
        for line in text.lines() {
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            let Some(comment) = line.strip_prefix('#') else {
                break;
            };
            let Some((key, value)) = comment.trim_start_matches('#').split_once(':') else {
                continue;
            };
            let value = value.trim().to_string();
            match key.trim() {
                "row" => header.row = Some(value),
                "reference" => header.reference = Some(value),
                "slow" => header.slow = Some(value),
                "needs" => header.needs.push(value),
                "tolerance" => header.tolerance = value.parse().ok(),
                _ => {}
            }
        }
        header
    }
}

/// What a row's script printed: `figure: name value`.
pub fn figures(stdout: &str) -> Vec<String> {
    stdout
        .lines()
        .filter_map(|line| line.strip_prefix("figure:"))
        .map(|rest| rest.trim().to_string())
        .collect()
}

/// The table of rows.
pub fn table(rows: &[[String; 4]]) -> String {
    let head = ["row", "figure", "reference", "verdict"].map(str::to_string);
    let mut widths = [0; 4];
    for row in std::iter::once(&head).chain(rows) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let line = |row: &[String; 4], text: &mut String| {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        let _ = writeln!(text, "{}", cells.join(" | ").trim_end());
    };
    line(&head, &mut text);
    let _ = writeln!(
        text,
        "{}",
        widths.map(|width| "-".repeat(width)).join("-|-")
    );
    rows.iter().for_each(|row| line(row, &mut text));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_up_to_the_first_statement() {
        let text = "# row: A1\n\n## Text: with a colon\n# tolerance: 1e-3\n# needs: a\n# needs: b\nlet x = 1\n# slow: no\n";
        let header = Header::parse(text);
        assert_eq!(header.row.as_deref(), Some("A1"));
        assert_eq!(header.tolerance, Some(1e-3));
        assert_eq!(header.needs, ["a", "b"]);
        assert_eq!(header.slow, None);
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [
            ["A1", "0.7", "0.7 to 0.8", "pass"],
            ["A12", "-", "é", "FAIL"],
        ]
        .map(|row| row.map(str::to_string));
        let text = table(&rows);
        assert_eq!(
            text,
            "row | figure | reference  | verdict\n----|--------|------------|--------\nA1  | 0.7    | 0.7 to 0.8 | pass\nA12 | -      | é          | FAIL\n"
        );
    }
}
