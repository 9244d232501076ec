//! Changes of what the router is told: routes, published L4 ports, access rules.

use serde::{Deserialize, Serialize};
use wire::Cidr;

use super::{EditError, expect_found, expect_free, take};
use crate::publish::Listen;
use crate::spec::{AclSpec, Document, Proto, PublishSpec, RouteSpec};
use crate::text;

/// A change of one entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum RouterEdit {
    /// A new route.
    AddRoute(RouteSpec),
    /// A route goes.
    RemoveRoute {
        /// Its destinations.
        #[serde(with = "text::one")]
        to: Cidr,
    },
    /// More is published.
    AddPublish(PublishSpec),
    /// An entry is published no more.
    RemovePublish {
        /// Where it was.
        #[serde(with = "text::one")]
        listen: Listen,
        /// For which protocol.
        proto: Proto,
    },
    /// A new access rule.
    AddAcl {
        /// How many rules come before it; absent: all.
        position: Option<usize>,
        /// What it says.
        rule: AclSpec,
    },
    /// An access rule goes.
    RemoveAcl {
        /// How many rules come before it.
        position: usize,
    },
}

pub(super) fn change(document: &mut Document, edit: &RouterEdit) -> Result<(), EditError> {
    match edit {
        RouterEdit::AddRoute(route) => {
            let taken = document.route.iter().any(|other| other.to == route.to);
            expect_free(taken, "route", &route.to)?;
            document.route.push(route.clone());
        }
        RouterEdit::RemoveRoute { to } => {
            expect_found(take(&mut document.route, |route| route.to == *to), "route", to)?;
        }
        RouterEdit::AddPublish(publish) => document.publish.push(publish.clone()),
        RouterEdit::RemovePublish { listen, proto } => {
            let is_meant = |entry: &PublishSpec| entry.listen == *listen && entry.proto == *proto;
            expect_found(take(&mut document.publish, is_meant), "publish", listen)?;
        }
        RouterEdit::AddAcl { position, rule } => {
            let position = position.unwrap_or(document.acl.len());
            if position > document.acl.len() {
                return Err(EditError::Beyond("acl", position, document.acl.len()));
            }
            document.acl.insert(position, rule.clone());
        }
        RouterEdit::RemoveAcl { position } => {
            expect_found(*position < document.acl.len(), "acl", position)?;
            document.acl.remove(*position);
        }
    }
    Ok(())
}
