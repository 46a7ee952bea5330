import hashlib
import hmac
import multiprocessing

import pytest

from fairtag.base.errors import ConfigError
from fairtag.base.pseudonym import ID_BYTES, parse_secret, random_id, read_secret, user_key

SECRET = bytes(range(32))


def test_a_key_is_the_hmac_of_the_id() -> None:
    assert user_key("anna", SECRET) == hmac.new(SECRET, b"anna", hashlib.sha256).hexdigest()


def test_ids_and_secrets_both_change_the_key() -> None:
    keys = {user_key("anna", SECRET), user_key("anna ", SECRET), user_key("anna", bytes(32)), user_key("ännä", SECRET)}
    assert len(keys) == 4


def test_a_secret_file_is_read_with_its_line_end(tmp_path) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET.hex() + "\n")
    assert read_secret(file) == SECRET


@pytest.mark.parametrize(("text", "rule"), [("zz" * 32, "hexadecimal"), ("ab" * 31, "31 bytes"), ("", "0 bytes")])
def test_a_bad_secret_is_refused_without_showing_it(text: str, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule) as caught:
        parse_secret(text, "FAIRTAG_SECRET")
    assert not text or text not in str(caught.value)


def test_an_absent_secret_file_is_a_config_error(tmp_path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_secret(tmp_path / "none")


def test_a_random_id_is_given_out_once_also_where_a_process_splits() -> None:
    ids = [random_id() for _ in range(1_000)]
    with multiprocessing.get_context("fork").Pool(2) as processes:
        ids += [one for some in processes.map(_ids_of, [300, 300], chunksize=1) for one in some]
    ids += [random_id() for _ in range(300)]
    assert {len(one) for one in ids} == {ID_BYTES}
    assert len(set(ids)) == len(ids)


def _ids_of(count: int) -> list[bytes]:
    return [random_id() for _ in range(count)]
