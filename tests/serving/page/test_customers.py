"""Names of customers and guests: who is told from whom, and who gives nothing away."""

from __future__ import annotations

from typing import Any

from fairtag.base.pseudonym import user_key
from serving.page.customers import Pseudonyms
from serving.protocol.payload import PageRequest
from serving.stores.price_locks import Trust

OLD, NEW = bytes(range(32)), bytes(range(1, 33))


def request(**who: Any) -> PageRequest:
    return PageRequest(query="drill", **who)


def test_a_customer_has_the_logs_pseudonym_and_another_name_in_the_locks() -> None:
    anna = Pseudonyms([OLD]).visitor(request(user_id="anna"))
    assert anna.user_key == user_key("anna", OLD)
    assert (anna.session, anna.new, anna.trust) == (None, False, Trust.INVENTED)
    assert anna == Pseudonyms([OLD]).visitor(request(user_id="anna", jurisdiction="DE", opted_out=True, page_size=3))
    assert anna == Pseudonyms([OLD]).visitor(request(user_id="anna", session_id="s"))
    assert anna.names != Pseudonyms([OLD]).visitor(request(user_id="bert")).names
    assert anna.names != Pseudonyms([OLD]).visitor(request(session_id="anna")).names


def test_a_guest_gets_a_session_and_is_known_by_it() -> None:
    names = Pseudonyms([OLD])
    first = names.visitor(request())
    assert first.session is not None
    assert len(first.session) <= 64, "it fits a cookie"
    assert (first.user_key, first.new, first.trust) == (None, True, Trust.INVENTED), "it has yet to come back"
    again = names.visitor(request(session_id=first.session))
    assert (again.names, again.session, again.new, again.trust) == (first.names, first.session, False, Trust.SESSION)
    assert names.visitor(request()).session != first.session


def test_a_session_of_the_shops_own_is_a_session_that_we_did_not_hand_out() -> None:
    names = Pseudonyms([OLD])
    issued = names.visitor(request()).session or ""
    for session in (
        "visit-17",
        "ü",
        "",
        issued[:-1],
        issued[:-1] + ("A" if issued[-1] != "A" else "B"),
        issued + "A" * 4,
    ):
        visitor = names.visitor(request(session_id=session or None))
        assert visitor.trust is Trust.INVENTED, session
        assert visitor.session == session or not session


def test_after_a_rotation_both_names_are_known_and_the_new_one_is_written() -> None:
    before, during, after = Pseudonyms([OLD]), Pseudonyms([NEW, OLD]), Pseudonyms([NEW])
    old, both, new = (names.visitor(request(user_id="anna")) for names in (before, during, after))
    assert both.names == (*new.names, *old.names)
    assert both.user_key == new.user_key != old.user_key
    session = before.visitor(request()).session
    assert during.visitor(request(session_id=session)).trust is Trust.SESSION
    assert after.visitor(request(session_id=session)).trust is Trust.INVENTED
