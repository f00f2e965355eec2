"""Money: what moves between free, held, spent and doubt. Integers only; the cap is enforced when a hold is taken."""

from __future__ import annotations

from pipeline.engine.stored import StoredAccount
from pipeline.errors import Bug


def free(account: StoredAccount) -> int:
    """What a new hold may take, in micro-units; negative when the cap was lowered or a gateway billed too much."""
    return account.cap - account.spent - account.held - account.doubt


def fits(account: StoredAccount, amount: int) -> bool:
    """Whether a hold of this amount stays under the cap."""
    return amount <= free(account)


def open_account(currency: str, cap: int) -> StoredAccount:
    """An account in which nothing has happened yet."""
    return set_cap(StoredAccount(currency, 0, 0, 0, 0, 0), cap)


def set_cap(account: StoredAccount, cap: int) -> StoredAccount:
    """A new cap. One below what is spent stops holds and nothing else."""
    return _account(account, cap=_amount(cap))


def hold(account: StoredAccount, amount: int) -> StoredAccount:
    """Free to held. *Raises* Bug when it does not fit: whoever decides must have asked `fits`."""
    if not fits(account, _amount(amount)):
        raise Bug(f"a hold of {amount} does not fit: {account}")
    return _account(account, held=amount)


def release(account: StoredAccount, amount: int) -> StoredAccount:
    """Held to free: the whole of a hold, or its rest."""
    return _account(account, held=-_amount(amount))


def settle(account: StoredAccount, amount: int, overage: int) -> StoredAccount:
    """Held to spent; what a gateway billed above the hold is spent as well, and remembered as overage."""
    return _account(account, held=-_amount(amount), spent=amount + _amount(overage), overage=overage)


def doubt(account: StoredAccount, amount: int) -> StoredAccount:
    """Held to doubt."""
    return _account(account, held=-_amount(amount), doubt=amount)


def lift(account: StoredAccount, amount: int) -> StoredAccount:
    """Doubt to held: evidence found the operation."""
    return _account(account, held=_amount(amount), doubt=-amount)


def release_doubt(account: StoredAccount, amount: int) -> StoredAccount:
    """Doubt to free: evidence says that nothing was billed."""
    return _account(account, doubt=-_amount(amount))


def write_off(account: StoredAccount, amount: int) -> StoredAccount:
    """Doubt to spent."""
    return _account(account, doubt=-_amount(amount), spent=amount)


def _amount(amount: int) -> int:
    # A float here would be a cent lost somewhere else, so the type is checked at run time too.
    if type(amount) is not int or amount < 0:
        raise Bug(f"not an amount in micro-units: {amount!r}")
    return amount


def _account(
    was: StoredAccount, *, cap: int | None = None, spent: int = 0, held: int = 0, doubt: int = 0, overage: int = 0
) -> StoredAccount:
    account = StoredAccount(
        was.currency,
        was.cap if cap is None else cap,
        was.spent + spent,
        was.held + held,
        was.doubt + doubt,
        was.overage + overage,
    )
    if account.held < 0 or account.doubt < 0:
        raise Bug(f"more money moved than was there: {was} became {account}")
    return account
