"""Start children again after they have ended."""

from collections.abc import Callable
from dataclasses import dataclass

from .embedded import Child

# Seconds. A child that has ended is started again after MIN_RESTART_DELAY, and after twice the last
# delay each time it ends within STABLE_AFTER.
MIN_RESTART_DELAY, MAX_RESTART_DELAY, STABLE_AFTER = 0.5, 10.0, 30.0


@dataclass(eq=False)
class Lifeline[C: Child]:
    """Starts a child again after it has ended, with a growing delay if it keeps ending soon."""

    child: C
    started_at: float
    delay: float = MIN_RESTART_DELAY
    restart_at: float | None = None
    on_exit: Callable[[C], None] = lambda _: None  # called once each time the child has ended

    def check(self, now: float, report: Callable[[str], None]) -> None:
        if self.child.is_running():
            return
        if self.restart_at is None:
            self.schedule_restart(now)
            self.on_exit(self.child)
            report(f"{self.child.name} ended, {self.child.exit_reason()}; it is started again.")
        elif now >= self.restart_at:
            self.child.start()
            self.started_at, self.restart_at = now, None

    def schedule_restart(self, now: float) -> None:
        if now - self.started_at > STABLE_AFTER:
            self.delay = MIN_RESTART_DELAY
        self.restart_at = now + self.delay
        self.delay = min(2 * self.delay, MAX_RESTART_DELAY)

    def replace(self, new: C, now: float) -> C:
        """Keep `new` alive from now on instead of the old child, and return the old one."""
        old, self.child = self.child, new
        self.started_at, self.restart_at, self.delay = now, None, MIN_RESTART_DELAY
        return old
