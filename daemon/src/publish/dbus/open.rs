//! The open requests of one connection to the bus: which paths are taken, and how the methods hand
//! a turn over to the task that tells its events.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};
use zbus::ObjectPath;
use zbus::names::OwnedUniqueName;

use super::error::Error;
use crate::channels::{CommandSender, StatusReceiver};
use crate::event::TurnId;

/// Requests open at a time, over all callers; more are refused as busy.
pub(super) const REQUESTS_MAX: usize = 64;

/// What a method hands over.
pub(super) enum Claim {
    /// A turn was accepted for this request.
    Turn {
        turn: TurnId,
        place: Place,
        /// Who gets its signals; everybody if there is nobody.
        owner: Option<OwnedUniqueName>,
        /// Answered when the request object is there.
        reply: oneshot::Sender<()>,
    },
    /// A caller left the bus.
    Left(OwnedUniqueName),
}

/// What the methods of the main object work with.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) commands: CommandSender,
    pub(super) status: StatusReceiver,
    pub(super) claims: mpsc::Sender<Claim>,
    taken: Taken,
}

/// Paths that are taken, and how many requests there have been.
type Taken = Arc<Mutex<(HashSet<ObjectPath<'static>>, u64)>>;

impl Desk {
    /// No request is open yet.
    pub(super) fn new(
        commands: CommandSender,
        status: StatusReceiver,
        claims: mpsc::Sender<Claim>,
    ) -> Self {
        Self { commands, status, claims, taken: Taken::default() }
    }

    /// Takes the path that `path` makes of the request's number.
    pub(super) fn reserve(
        &self,
        path: impl FnOnce(u64) -> Result<ObjectPath<'static>, String>,
    ) -> Result<Place, Error> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let (paths, count) = &mut *taken;
        if paths.len() >= REQUESTS_MAX {
            return Err(Error::Busy(format!("{REQUESTS_MAX} requests are open, ask again later")));
        }
        *count += 1;
        let path = path(*count).map_err(Error::Invalid)?;
        if !paths.insert(path.clone()) {
            return Err(Error::InUse(format!("a request with this token is open: {path}")));
        }
        Ok(Place { path, taken: Arc::clone(&self.taken) })
    }

    /// Most memory of this process in use at a time, in bytes.
    pub(super) fn peak_rss_bytes(&self) -> u64 {
        crate::resources::peak_rss_bytes()
    }
}

/// A taken path; dropping it frees the path.
pub(super) struct Place {
    path: ObjectPath<'static>,
    taken: Taken,
}

impl Place {
    pub(super) fn path(&self) -> &ObjectPath<'static> {
        &self.path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.0.remove(&self.path);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::sync::watch;

    use super::*;
    use crate::status::Status;

    fn desk() -> Desk {
        let status = watch::Sender::new(Status::default()).subscribe();
        Desk::new(mpsc::channel(1).0, status, mpsc::channel(1).0)
    }

    fn path(number: u64) -> Result<ObjectPath<'static>, String> {
        Ok(ObjectPath::try_from(format!("/r{number}")).unwrap())
    }

    #[test]
    fn a_path_is_taken_until_its_place_is_dropped() {
        let desk = desk();
        let place = desk.reserve(|_| path(1)).ok().unwrap();
        assert!(matches!(desk.reserve(|_| path(1)), Err(Error::InUse(_))));
        drop(place);
        assert!(desk.reserve(|_| path(1)).is_ok());
    }

    #[test]
    fn the_number_of_open_requests_is_bounded() {
        let desk = desk();
        let places: Vec<Place> =
            (0..REQUESTS_MAX).map(|_| desk.reserve(path).ok().unwrap()).collect();
        assert!(matches!(desk.reserve(path), Err(Error::Busy(_))));
        drop(places);
        assert!(desk.reserve(path).is_ok());
    }
}
