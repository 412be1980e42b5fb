//! `mqtap create`: a tap that stays until it is deleted.

mod args;
mod owner;

use std::process::ExitCode;

use mqtap::account::{self, Account, AccountError};
use mqtap::create::{CreateOptions, Created, create};
use serde_json::Value;

pub(crate) use args::Arguments;
pub(crate) use args::words;

use crate::{exit, json};

pub(crate) fn main(arguments: &Arguments) -> ExitCode {
    let request = match arguments.request() {
        Ok(request) => request,
        Err(message) => return exit::usage("create", &message),
    };
    let resolved = || {
        let owner = request.owner.as_ref().map(Account::user_id).transpose()?;
        let group = request.group.as_ref().map(Account::group_id).transpose()?;
        Ok::<_, AccountError>((owner, group))
    };
    let (owner, group) = match resolved() {
        Ok(resolved) => resolved,
        Err(error) => return exit::usage("create", &error),
    };
    warn_of_nobody(owner, group);
    // A group alone keeps strangers out, and an owner beside it would keep out its other members.
    let owner = owner.or_else(|| group.is_none().then(owner::default));
    let options = CreateOptions { owner, group, ..request.options };
    match create(&options) {
        Ok(created) => tell(&created, arguments.json),
        Err(error) => exit::failure(&exit::there(options.namespace.as_ref(), &error)),
    }
}

fn tell(created: &Created, as_json: bool) -> ExitCode {
    let name = created.link.name;
    let text = if as_json {
        let mut object = json::link(&created.link, created.bridge);
        object.insert("created".to_owned(), created.new.into());
        format!("{}\n", Value::from(object))
    } else {
        format!("{name}\n")
    };
    let done = if created.new { "was made" } else { "was there, as asked for" };
    exit::print_done(&text, &format!("{name} {done}"))
}

/// An owner who is not in the group may not open the tap, and nobody else may.
fn warn_of_nobody(owner: Option<u32>, group: Option<u32>) {
    if let (Some(owner), Some(group)) = (owner, group)
        && account::is_member(owner, group) == Some(false)
    {
        let (user, group) = (account::describe_user(owner), account::describe_group(group));
        tracing::warn!(
            "user {user} is not in group {group}, and must be to open the tap: with both, both must match; give one of them"
        );
    }
}
