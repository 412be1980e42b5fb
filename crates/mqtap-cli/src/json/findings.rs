//! What a doctor says, as JSON.

use mqtap::doctor::{Explanation, Finding};
use serde_json::{Value, json};

pub(crate) fn finding(finding: &Finding) -> Value {
    json!({
        "id": finding.id.as_str(),
        "severity": finding.severity.as_str(),
        "ifname": finding.interface,
        "summary": finding.summary,
        "cause": finding.cause,
        "advice": finding.advice,
        "commands": finding.commands,
    })
}

pub(crate) fn explanation(explanation: &Explanation) -> Value {
    let causes =
        explanation.causes.iter().map(|cause| json!({ "cause": cause.cause, "remedy": cause.remedy }));
    json!({
        "id": explanation.id,
        "meaning": explanation.meaning,
        "causes": causes.collect::<Vec<Value>>(),
    })
}
