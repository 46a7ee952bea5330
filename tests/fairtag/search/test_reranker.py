"""Re-ranking: features against their naive forms, trees against scikit-learn's, an order by words and meaning."""

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor

from fairtag.base import schema
from fairtag.base.errors import ModelFolderMissing
from fairtag.base.text import tokens
from fairtag.data.splits import QUERY_SALT, held_out
from fairtag.encoder.config import EncoderConfig
from fairtag.encoder.encoder import EncoderDescription
from fairtag.encoder.out_of_fold import COSINE
from fairtag.search.dense_index import ExactIndex
from fairtag.search.match import FEATURES, QueryHashes, Rarity, match_features
from fairtag.search.reranker import Reranker, enough_pairs, gain_over_cosine, pair_features, tree_graph
from fairtag.search.retrieval import Retriever, SearchPart
from fairtag.search.text_table import TextTable, hash_text, head_of, stem
from fairtag.search.word_index import WordIndex, fuse, fused_scores
from fairtag.training.search import fit_search, search_scores, untrained_judgements

TEXTS = ["Acme 18 Volt Cordless Drill Kit", "Deck Over coating, 1 gal.", "red lamp", "", "电钻 18V", "drills for walls"]
NAMES = list(FEATURES)


@pytest.fixture(scope="module")
def table():
    return TextTable.build(TEXTS)


def features(query, table, cosine=None):
    rows = np.arange(len(table))
    values = match_features(
        QueryHashes.of(query), table, rows, np.zeros(len(rows)) if cosine is None else cosine, Rarity.of(table)
    )
    return {name: values[:, column] for column, name in enumerate(NAMES)}


@pytest.mark.parametrize("query", ["18 volt drills", "deckover", "red lamp", "18v", "", "电钻", "🔧", "unheard of"])
def test_shares_are_those_of_plain_sets(query, table):
    got = features(query, table)
    words, stems = set(tokens(query)), {stem(word) for word in tokens(query)}
    for row, text in enumerate(TEXTS):
        other = set(tokens(text))
        assert got["shared_words"][row] == len(words & other)
        assert got["word_jaccard"][row] == pytest.approx(len(words & other) / max(len(words | other), 1))
        share = len(stems & {stem(word) for word in other}) / len(stems) if stems else -1.0
        assert got["stem_share"][row] == pytest.approx(share)
        flat, title = "".join(tokens(query)), "".join(tokens(text))
        fours = {flat[at : at + 4] for at in range(max(len(flat) - 3, 1))} if flat else set()
        if len(flat) >= 4 and len(title) >= 4:
            met = fours & {title[at : at + 4] for at in range(len(title) - 3)}
            assert got["flat_share"][row] == pytest.approx(len(met) / len(fours))
    assert all(np.isfinite(values).all() for values in got.values())


def test_a_word_written_together_meets_the_same_written_apart(table):
    got = features("deckover", table)
    assert got["word_share"][1] == 0.0
    assert got["flat_share"][1] == 1.0


def test_a_rare_word_counts_for_more_than_a_common_one():
    table = TextTable.build(["drill rare", "drill lamp", "drill rope", "rare lamp rope"])
    got = features("rare drill", table)
    assert got["rare_share"][3] > got["rare_share"][1]
    assert got["rarest_missing"][1] > got["rarest_missing"][3] > got["rarest_missing"][0] == 0.0


@pytest.mark.parametrize(
    "query", ["18 volt drills", "cordles drill", "red lamp for walls", "18v", "电钻", "drill drill x"]
)
def test_nearness_is_the_share_of_each_words_letters_or_all_of_them_where_its_stem_is_there(query, table):
    got, rarity = features(query, table), Rarity.of(table)
    asked = [(word, stem(word)) for word in tokens(query)]
    weight = np.array([rarity(hash_text(word).stems)[0] for word, _ in asked])
    for row, text in enumerate(TEXTS):
        line, stems = f" {' '.join(tokens(text))} ", {stem(word) for word in tokens(text)}
        near = []
        for word, own in asked:
            runs = [f" {word} "[at : at + 3] for at in range(len(word))]
            near.append(1.0 if own in stems else np.mean([run in line for run in runs]) if line.strip() else 0.0)
        assert got["near_share"][row] == pytest.approx(weight @ near / weight.sum())
        assert got["near_mean"][row] == pytest.approx(np.mean(near))
        assert got["near_last"][row] == pytest.approx(near[-1])
        assert got["near_least"][row] == pytest.approx(min(near))
        assert got["near_rarest"][row] == pytest.approx(near[int(weight.argmax())])


def test_a_misspelt_word_is_near_the_one_that_was_meant(table):
    got = features("cordles dril", table)
    assert got["stem_share"][0] == 0.0
    assert got["near_share"][0] > 0.6 > 0.2 > got["near_share"][2]


def test_what_a_text_names_stands_before_what_it_comes_with():
    assert head_of(["lawn", "mower", "with", "bag"]) == "mower"
    assert head_of(["with", "bag"]) == "bag"
    assert head_of(["deck", "screw"]) == "screw"
    table = TextTable.build(["Acme lawn mower with bag", "bag for lawn mowers", ""])
    got = features("mower", table)
    assert got["heads_alike"].tolist() == [1.0, 0.0, 0.0]
    assert got["text_head_met"].tolist() == [1.0, 0.0, 0.0]
    assert got["head_met"].tolist() == [1.0, 1.0, 0.0]


def test_a_text_of_much_that_was_not_asked_for_is_covered_less():
    got = features("red lamp", TextTable.build(["red lamp", "red lamp shade kit", "blue rope"]))
    assert got["covered"][0] == 1.0 > got["covered"][1] > got["covered"][2] == 0.0


def test_a_table_is_read_back_memory_mapped_and_an_absent_one_is_named(table, tmp_path):
    loaded = TextTable.load(table.save(tmp_path / "texts"))
    assert isinstance(loaded.hashes.base, np.memmap)
    for name, values in features("red drill kit", loaded).items():
        np.testing.assert_array_equal(values, features("red drill kit", table)[name], err_msg=name)
    with pytest.raises(ModelFolderMissing):
        TextTable.load(tmp_path / "none")


def test_no_texts_have_no_features():
    assert len(TextTable.build([])) == 0
    assert Rarity.of(TextTable.build([]))(np.array([3], dtype=np.uint32)).shape == (1,)


def judged(seed=0, queries=150, each=6):
    """Pairs whose grade follows the cosine and the shared words; the cosine alone is half of it."""
    rng = np.random.default_rng(seed)
    words = [f"w{number}" for number in range(60)]
    rows, cosine = [], []
    for number in range(queries):
        asked = list(rng.choice(words, 3, replace=False))
        for item in range(each):
            kept = [word for word in asked if rng.random() < 0.5]
            title = " ".join([*kept, *rng.choice(words, 3)])
            near = rng.random()
            grade = 0.5 * near + 0.5 * len(set(title.split()) & set(asked)) / 3 + 0.05 * rng.normal()
            rows.append((" ".join(asked), f"{number}-{item}", title, float(np.clip(grade, 0, 1))))
            cosine.append(near)
    names = [schema.QUERY, schema.ITEM_ID, schema.TITLE, schema.RELEVANCE]
    return pd.DataFrame(rows, columns=names), np.array(cosine)


@pytest.fixture(scope="module")
def fitted():
    rows, cosine = judged()
    titles, of_title = np.unique(rows[schema.TITLE].to_numpy(dtype=str), return_inverse=True)
    table = TextTable.build(titles.tolist())
    values = pair_features(rows[schema.QUERY].tolist(), table, of_title, cosine, Rarity.of(table))
    return Reranker.fit(values, rows[schema.RELEVANCE].to_numpy(), Rarity.of(table)), rows, values


def test_the_graph_answers_what_the_trees_answer():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(800, 5)).astype(np.float32).astype(np.float64)
    values[:, 2] = np.round(values[:, 2])  # many equal values: thresholds fall between neighbours
    truth = values[:, 0] * (values[:, 1] > 0) + values[:, 2]
    models = [HistGradientBoostingRegressor(max_iter=40, random_state=seed).fit(values, truth) for seed in (0, 1)]
    import onnxruntime

    session = onnxruntime.InferenceSession(tree_graph(models, 5), providers=["CPUExecutionProvider"])
    answer = session.run(None, {"features": values.astype(np.float32)})[0][:, 0]
    np.testing.assert_allclose(answer, np.mean([model.predict(values) for model in models], axis=0), atol=1e-5)


def test_it_orders_unseen_queries_better_than_the_cosine_and_is_read_back_the_same(fitted, tmp_path):
    reranker, rows, values = fitted
    assert gain_over_cosine(rows[schema.QUERY].tolist(), values, rows[schema.RELEVANCE].to_numpy()) > 0.01
    reranker.save(tmp_path)
    np.testing.assert_array_equal(Reranker.load(tmp_path).predict(values), reranker.predict(values))
    with pytest.raises(ModelFolderMissing):
        Reranker.load(tmp_path / "none")


def test_relevance_never_falls_as_the_cosine_rises(fitted):
    reranker, _, values = fitted
    low, high = values.copy(), values.copy()
    low[:, NAMES.index("cosine")] = 0.2
    high[:, NAMES.index("cosine")] = 0.8
    assert (reranker.predict(high) >= reranker.predict(low)).all()


def test_a_query_of_no_words_and_texts_of_none_have_a_relevance(fitted):
    reranker = fitted[0]
    for query in ("", "🔧", "x" * 5000):
        relevance = reranker.relevance(query, TextTable.build(TEXTS), np.arange(len(TEXTS)), np.zeros(len(TEXTS)))
        assert np.isfinite(relevance).all()
        assert ((relevance >= 0) & (relevance <= 1)).all()


def test_few_pairs_or_one_grade_are_not_enough():
    queries = np.repeat([f"q{number}" for number in range(100)], 5)
    assert enough_pairs(queries, np.linspace(0, 1, 500))
    assert not enough_pairs(queries, np.ones(500))
    assert not enough_pairs(queries[:100], np.linspace(0, 1, 100))
    assert not enough_pairs(np.repeat(["one", "two"], 250), np.linspace(0, 1, 500))


class Letters:
    """An encoder of letters, so that tests need no weights."""

    dimension = 26

    def encode(self, texts, role, batch_size=64):
        rows = np.array(
            [[text.casefold().count(chr(97 + place)) for place in range(26)] for text in texts], dtype=np.float32
        )
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def description(method="full", folds=0):
    config = EncoderConfig.from_json(
        {"tuning": {"method": method}, "validation": {"holdout_share": 0.3, "folds": folds}}
    )
    return EncoderDescription("b", 26, 32, "mean", "", "", "torch", 0, "f", {"config": config.as_json()})


def catalogue(rows):
    return rows.drop_duplicates(schema.TITLE).sort_values(schema.ITEM_ID).reset_index(drop=True)


def search_part(rows, judgements, said):
    items = catalogue(rows)
    return fit_search(items, Letters().encode(items[schema.TITLE].tolist(), "item"), judgements, Letters(), said)


def test_pairs_that_the_encoder_learnt_from_do_not_teach_the_reranker():
    rows, _ = judged(queries=400)
    some, all_of_them = (
        untrained_judgements(rows, description()),
        untrained_judgements(rows, description(method="none")),
    )
    asked, known = set(some[schema.QUERY]), set(all_of_them[schema.QUERY])
    assert asked < known < set(rows[schema.QUERY])
    assert len(asked) / len(known) == pytest.approx(0.3, abs=0.08)


@pytest.mark.slow
def test_after_a_cross_validation_the_reranker_learns_all_pairs_by_the_cosine_of_those_that_had_not_seen_them():
    rows, near = judged(queries=150)
    out_of_fold = rows[[schema.QUERY, schema.TITLE]].assign(**{COSINE: near.astype(np.float32)})
    said = description(folds=5)
    assert not len(untrained_judgements(rows, said))  # the encoder that ships has learnt from all of them
    items = catalogue(rows)
    embeddings = Letters().encode(items[schema.TITLE].tolist(), "item")
    assert fit_search(items, embeddings, rows, Letters(), said).reranker is None
    part = fit_search(items, embeddings, rows, Letters(), said, out_of_fold=out_of_fold)
    usable = ~held_out(rows[schema.QUERY], QUERY_SALT)
    table = TextTable.build(items[schema.TITLE].tolist())
    at = items.reset_index().set_index(schema.TITLE)["index"].loc[rows[schema.TITLE]].to_numpy()
    values = pair_features(
        rows[schema.QUERY].tolist(), table, at, out_of_fold[COSINE].to_numpy(float), part.reranker.rarity
    )
    plain = Reranker.fit(values[usable], rows[schema.RELEVANCE].to_numpy()[usable], part.reranker.rarity)
    np.testing.assert_allclose(part.reranker.predict(values), plain.predict(values), atol=1e-6)


@pytest.mark.slow
def test_a_search_part_is_saved_and_opened_and_the_same_inputs_give_the_same_bytes(tmp_path):
    rows, _ = judged(queries=400)
    for name in ("a", "b"):
        search_part(rows, rows, description(method="none")).save(tmp_path / name)
    files = sorted(file.relative_to(tmp_path / "a") for file in (tmp_path / "a").rglob("*") if file.is_file())
    assert len(files) > 8
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file
    part = SearchPart.load(tmp_path / "a")
    assert part.reranker is not None
    assert len(part.texts) == part.words.size == len(catalogue(rows))


def test_a_shop_without_judgements_has_no_reranker(tmp_path):
    rows, _ = judged(queries=20)
    search_part(rows, None, description()).save(tmp_path / "s")
    assert SearchPart.load(tmp_path / "s").reranker is None
    assert search_part(rows, rows, description()).reranker is None


def test_the_best_candidates_are_ordered_by_relevance_and_none_is_lost(fitted):
    reranker, rows, _ = fitted
    items = catalogue(rows)
    titles = items[schema.TITLE].tolist()
    embeddings = Letters().encode(titles, "item")
    parts = {"embeddings": embeddings, "texts": TextTable.build(titles)}
    words = WordIndex.build(titles)
    plain = Retriever(ExactIndex(embeddings), words)
    ranked = Retriever(ExactIndex(embeddings), words, reranker, **parts)
    query = "w1 w2 w3"
    z = Letters().encode([query], "query")[0]
    before, after = plain.retrieve(z, query, 40), ranked.retrieve(z, query, 40)
    assert set(after) <= set(plain.retrieve(z, query, 50))
    head = plain.retrieve(z, query, 50)
    relevance = dict(
        zip(head, reranker.relevance(query, parts["texts"], head, (embeddings[head] @ z).astype(float)), strict=True)
    )
    assert [relevance[row] for row in after] == sorted(relevance.values(), reverse=True)[:40]
    assert before.tolist() != after.tolist()
    assert ranked.retrieve(z, "", 40).tolist() == plain.retrieve(z, "", 40).tolist()


def test_rows_without_stock_are_replaced_from_further_down():
    embeddings = np.eye(1000, 64, dtype=np.float32) + 0.01
    stock = np.zeros(1000)
    stock[900:920], stock[920:930] = 1.0, np.nan  # unknown stock may be shown
    found = Retriever(ExactIndex(embeddings), WordIndex.build(["word"] * 1000)).retrieve(
        embeddings[3], "word", 24, stock
    )
    assert len(found) == 24
    assert set(found) <= set(range(900, 930))
    assert len(Retriever(ExactIndex(embeddings)).retrieve(embeddings[3], "", 50, stock)) == 30


def test_served_scores_order_as_the_fusion_where_there_is_no_reranker():
    rows, _ = judged(queries=3)
    served, cosine = search_scores(Letters(), None, rows)
    titles = sorted(set(rows[schema.TITLE]))
    index = WordIndex.build(titles)
    for query, part in rows.groupby(schema.QUERY):
        at = part.index.to_numpy()
        bm25 = index.scores(query)[[titles.index(title) for title in part[schema.TITLE]]]
        np.testing.assert_allclose(served[at], fused_scores(cosine[at], bm25))
        orders = [np.argsort(-cosine[at], kind="stable"), np.argsort(-bm25, kind="stable")[: int((bm25 > 0).sum())]]
        assert fuse(orders, 1)[0] == np.argmax(served[at])
