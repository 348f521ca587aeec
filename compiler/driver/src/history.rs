//! The figures of a training, epoch by epoch: kept with the model, in its file and in checkpoints.

use aec_types::Value;
use aec_types::value::History;
use std::rc::Rc;

/// Figures by name, one value for each epoch.
pub(crate) type Figures = Vec<(String, Vec<f64>)>;

/// Adds an epoch. A figure that an earlier epoch did not have is NaN there.
pub(crate) fn add(figures: &mut Figures, epoch: Vec<(String, f64)>) {
    let before = figures.first().map_or(0, |(_, values)| values.len());
    for (name, value) in epoch {
        match figures.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(value),
            None => {
                let mut values = vec![f64::NAN; before];
                values.push(value);
                figures.push((name, values));
            }
        }
    }
}

/// The figures of one epoch.
pub(crate) fn epoch(figures: &Figures, at: usize) -> Vec<(String, f64)> {
    figures
        .iter()
        .filter_map(|(name, values)| Some((name.clone(), *values.get(at)?)))
        .collect()
}

/// A line for each figure, its name and its values.
pub(crate) fn text(figures: &Figures) -> String {
    let line = |(name, values): &(String, Vec<f64>)| {
        let values: Vec<String> = values.iter().map(f64::to_string).collect();
        format!("{name},{}\n", values.join(","))
    };
    figures.iter().map(line).collect()
}

/// What [`text`] wrote; a line that is damaged is left out.
pub(crate) fn parse(text: &str) -> Figures {
    text.lines()
        .filter_map(|line| {
            let mut cells = line.split(',');
            let name = cells.next()?.to_string();
            let values: Result<Vec<f64>, _> = cells.map(str::parse).collect();
            Some((name, values.ok()?))
        })
        .collect()
}

/// The model, knowing how it was trained.
pub(crate) fn remember(model: Value, history: History) -> Value {
    match model {
        Value::Model(model) => {
            let mut model = (*model).clone();
            model.history = Some(Rc::new(history));
            Value::Model(Rc::new(model))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_come_back() {
        let mut figures = Figures::new();
        add(&mut figures, vec![("loss".into(), 0.1)]);
        add(
            &mut figures,
            vec![("loss".into(), 1e-30), ("late".into(), 2.0)],
        );
        let back = parse(&text(&figures));
        assert_eq!(back[0], ("loss".to_string(), vec![0.1, 1e-30]));
        assert!(back[1].1[0].is_nan() && back[1].1[1] == 2.0);
        assert_eq!(
            epoch(&back, 1),
            [("loss".into(), 1e-30), ("late".into(), 2.0)]
        );
        assert!(parse("loss,1,x\n").is_empty());
    }
}
