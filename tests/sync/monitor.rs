//! Notifications of commits to the in-memory kernel.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use weir::kernel::ForeignChanges;
use weir::sync::Listen;

use crate::faulty::{Fault, Plan, Request};
use crate::memory::Memory;

/// Tells of all commits, but while it is paused, and as far as the plan lets it.
pub(crate) struct Monitor {
    kernel: Memory,
    plan: Rc<RefCell<Plan>>,
}

impl Monitor {
    /// Tells of all that is committed from now on.
    pub(crate) fn new(kernel: &Memory, plan: &Rc<RefCell<Plan>>) -> Self {
        let mut world = kernel.0.borrow_mut();
        (world.foreign, world.is_paused) = (ForeignChanges::default(), false);
        Self { kernel: kernel.clone(), plan: Rc::clone(plan) }
    }
}

impl Listen for Monitor {
    fn drain(&mut self) -> ForeignChanges {
        let fault = self.plan.borrow_mut().fault(Request::ForeignChanges);
        let foreign = std::mem::take(&mut self.kernel.0.borrow_mut().foreign);
        match fault {
            Some(Fault::Lossy) => ForeignChanges { is_lossy: true, ..foreign },
            Some(Fault::Deaf) => ForeignChanges::default(),
            _ => foreign,
        }
    }

    fn pause(&mut self) -> io::Result<()> {
        self.kernel.0.borrow_mut().is_paused = true;
        Ok(())
    }

    fn resume(&mut self) -> io::Result<()> {
        if self.plan.borrow().cannot_resume {
            return Err(io::Error::from_raw_os_error(libc::ENOBUFS));
        }
        let mut world = self.kernel.0.borrow_mut();
        (world.foreign, world.is_paused) = (ForeignChanges::default(), false);
        Ok(())
    }
}
