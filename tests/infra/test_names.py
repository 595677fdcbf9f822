import re
from dataclasses import astuple

from hypothesis import assume, given
from hypothesis import strategies as st

from lakehouse.names import Names, label_value, labels

PROJECTS = st.from_regex(r"[a-z][a-z0-9-]{4,28}[a-z0-9]", fullmatch=True) | st.text(min_size=1, max_size=40)
PLAIN_STACKS = st.from_regex(r"[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,6}){0,2}", fullmatch=True)
STACKS = (
    PLAIN_STACKS
    | st.from_regex(r"[A-Za-z0-9_.-]{1,100}", fullmatch=True)
    | st.text(min_size=1, max_size=100)
    | st.sampled_from(["google", "a-goog", "g00gle", "taxiway", "-", "deadbeef00", "x-deadbeef00", "ä" * 90])
)
LABEL = re.compile(r"[a-z0-9_-]{1,63}")


@given(PROJECTS, STACKS)
def test_a_bucket_name_is_one_that_cloud_storage_takes(project, stack):
    for name in (Names.of(project, stack).bucket, Names.of(project, stack).dags_bucket):
        assert re.fullmatch(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", name)
        assert not re.search("google|g00gle", name)
        assert not name.startswith("goog")


@given(PROJECTS, STACKS)
def test_a_dataset_name_has_letters_digits_and_underscores_alone(project, stack):
    assert re.fullmatch(r"[A-Za-z0-9_]{1,1024}", Names.of(project, stack).dataset)


@given(PROJECTS, STACKS)
def test_an_account_id_has_six_to_thirty_characters(project, stack):
    for name in (Names.of(project, stack).account, Names.of(project, stack).reader):
        assert re.fullmatch(r"[a-z](?=.{5,29}$)[a-z0-9-]*[a-z0-9]", name)


@given(PROJECTS, STACKS, STACKS)
def test_a_reader_is_never_the_pipelines_account_of_any_stack(project, one, other):
    assert Names.of(project, one).reader != Names.of(project, other).account


@given(PROJECTS, STACKS)
def test_the_account_id_names_everything_of_the_runner_too(project, stack):
    """Compute's limit is 63 (RFC 1035), of which a snapshot's date takes its part; a secret may have 255."""
    names = Names.of(project, stack)
    for name in (names.account, *map(names.part, ("data", "admin-password", "fernet-key"))):
        assert re.fullmatch(r"[a-z](?=.{0,62}$)[a-z0-9-]*[a-z0-9]", name)


@given(PROJECTS, STACKS, STACKS)
def test_a_part_of_one_stack_never_has_the_name_of_another_stack(project, one, other):
    assert Names.of(project, one).part("data") != Names.of(project, other).account


@given(PROJECTS, STACKS, st.text(max_size=90))
def test_labels_are_valid_and_never_empty(project, stack, owner):
    for value in labels(Names.of(project, stack).label, owner).values():
        assert LABEL.fullmatch(value)


@given(PROJECTS, STACKS, STACKS)
def test_two_developers_in_one_project_never_meet(project, one, other):
    assume(one != other)
    first, second = Names.of(project, one), Names.of(project, other)
    assert first.bucket != second.bucket
    assert first.dags_bucket != second.dags_bucket
    assert first.dataset != second.dataset
    assert first.account != second.account
    assert first.reader != second.reader
    assert first.label != second.label


@given(PROJECTS, PROJECTS, STACKS, STACKS)
def test_two_projects_never_meet_in_the_worlds_one_list_of_buckets(one, other, stack, other_stack):
    assume(one != other)
    mine, theirs = Names.of(one, stack), Names.of(other, other_stack)
    assert {mine.bucket, mine.dags_bucket}.isdisjoint({theirs.bucket, theirs.dags_bucket})


@given(PROJECTS, STACKS, STACKS)
def test_a_lake_is_never_the_bucket_of_another_stacks_dags(project, one, other):
    assert Names.of(project, one).bucket != Names.of(project, other).dags_bucket


@given(st.from_regex(r"[a-z][a-z0-9]{5,12}", fullmatch=True), PLAIN_STACKS)
def test_a_plain_stack_can_be_read_in_its_names(project, stack):
    assume("taxiway" not in stack)
    assume(not re.search(r"g[o0]{2}g|(^|-)[0-9a-f]{10}$", project + stack))
    names = Names.of(project, stack)
    assert names.bucket == f"{project}-taxiway-{stack}"
    assert names.dataset == "taxiway_" + stack.replace("-", "_")


def test_names_stay_as_they_are():
    """Whoever changes one of these loses every existing stack's data."""
    assert Names.of("acme-data", "alice") == Names(
        bucket="acme-data-taxiway-alice",
        dags_bucket="taxiway-dags-alice-483ab56565",
        dataset="taxiway_alice",
        account="taxiway-alice",
        reader="taxiway-alice--reader",
        label="alice",
    )
    assert Names.of("example.com:acme", "Feature/Lake_2.x") == Names(
        bucket="taxiway-feature-lake-2-x-64b10b84ea",
        dags_bucket="taxiway-dags-feature-lake-2-x-64b10b84ea",
        dataset="taxiway_feature_lake_2_x_64b10b84ea",
        account="taxiway-feature-lak-64b10b84ea",
        reader="taxiway-feature-lak-d10a5b3d87",
        label="feature-lake-2-x-64b10b84ea",
    )


def test_projects_and_stacks_that_would_read_alike_are_told_apart():
    assert Names.of("acme-taxiway-x", "alice").bucket != Names.of("acme", "x-taxiway-alice").bucket
    assert Names.of("acme", "a_b").dataset != Names.of("acme", "a-b").dataset
    assert Names.of("acme", "Alice").bucket != Names.of("acme", "alice").bucket


def test_an_owner_is_labelled_without_the_domain():
    assert label_value("group:Data.Team@example.com") == "data-team"


@given(PROJECTS, STACKS)
def test_stacks_of_two_pulumi_projects_share_no_name(project, stack):
    mine, theirs = Names.of(project, stack), Names.of(project, stack, pulumi="bike-city")
    assert set(astuple(mine)).isdisjoint(astuple(theirs))


def test_names_of_a_project_of_ones_own_are_readable():
    names = Names.of("acme-data", "alice", pulumi="bike-city")
    assert names.bucket == "acme-data-bike-city-alice"
    assert (names.dataset, names.account, names.label) == (
        "bike_city_alice",
        "bike-city-alice",
        "bike-city-alice",
    )
