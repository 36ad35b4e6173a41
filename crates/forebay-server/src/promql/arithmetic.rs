//! Operators on two numbers, and sums that lose no small terms.

use super::expression::Operator;

/// A sum that keeps what rounding loses: Kahan's method, as Neumaier improved it.
///
/// # Source
/// <https://en.wikipedia.org/wiki/Kahan_summation_algorithm>
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum {
    total: f64,
    lost: f64,
}

impl Sum {
    pub(super) fn add(&mut self, value: f64) {
        let total = self.total + value;
        if total.is_infinite() {
            self.lost = 0.0;
        } else if self.total.abs() >= value.abs() {
            self.lost += (self.total - total) + value;
        } else {
            self.lost += (value - total) + self.total;
        }
        self.total = total;
    }

    pub(super) fn value(self) -> f64 {
        self.total + self.lost
    }
}

/// The larger one; a number rather than NaN.
pub(super) fn larger(left: f64, right: f64) -> f64 {
    if right > left || left.is_nan() { right } else { left }
}

/// The smaller one; a number rather than NaN.
pub(super) fn smaller(left: f64, right: f64) -> f64 {
    if right < left || left.is_nan() { right } else { left }
}

/// The result of an operator; `None` where a comparison filters the left operand out.
pub(super) fn apply(operator: Operator, as_number: bool, left: f64, right: f64) -> Option<f64> {
    if operator.is_comparison() {
        let holds = compare(operator, left, right);
        return if as_number { Some(f64::from(u8::from(holds))) } else { holds.then_some(left) };
    }
    Some(match operator {
        Operator::Subtract => left - right,
        Operator::Multiply => left * right,
        Operator::Divide => left / right,
        Operator::Modulo => left % right,
        Operator::Power => left.powf(right),
        Operator::Atan2 => left.atan2(right),
        _ => left + right,
    })
}

#[expect(clippy::float_cmp, reason = "the language compares exactly")]
fn compare(operator: Operator, left: f64, right: f64) -> bool {
    match operator {
        Operator::NotEqual => left != right,
        Operator::Less => left < right,
        Operator::LessOrEqual => left <= right,
        Operator::Greater => left > right,
        Operator::GreaterOrEqual => left >= right,
        _ => left == right,
    }
}
