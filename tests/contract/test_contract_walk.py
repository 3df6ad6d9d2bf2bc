"""The contract as it stands keeps every rule of tests/support/contract_rules.py."""

from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool

from tests.contract.exceptions import EXCEPTIONS
from tests.support.contract_model import Contract
from tests.support.contract_rules import findings

ROOT = Path(__file__).parents[2]
INTERNAL = ROOT / "protos/internal"


def descriptor_set(name: str) -> descriptor_pb2.FileDescriptorSet:
    return descriptor_pb2.FileDescriptorSet.FromString((ROOT / "build" / name).read_bytes())


def internal_files() -> set[str]:
    return {path.relative_to(INTERNAL).as_posix() for path in INTERNAL.rglob("*.proto")}


def test_the_contract_keeps_every_rule() -> None:
    contract = Contract(descriptor_set("candela.binpb"), internal_files())
    assert contract.methods, "an empty contract proves nothing"
    found = findings(contract, EXCEPTIONS)
    assert not found, "\n" + "\n".join(map(str, found))


def test_the_public_set_holds_the_public_module_whole_and_nothing_internal() -> None:
    public = {file.name for file in descriptor_set("candela-public.binpb").file}
    wanted = {path.relative_to(ROOT / "protos/public").as_posix() for path in ROOT.glob("protos/public/**/*.proto")}
    assert wanted <= public
    assert not public & internal_files()


def test_both_sets_load_in_order_and_hold_what_the_error_model_needs() -> None:
    for name in ("candela.binpb", "candela-public.binpb"):
        pool = descriptor_pool.DescriptorPool()
        for file in descriptor_set(name).file:
            pool.Add(file)
        for needed in ("google.rpc.ErrorInfo", "google.rpc.Status", "google.api.HttpBody", "google.protobuf.Struct"):
            assert pool.FindMessageTypeByName(needed)


def test_comments_travel_in_the_descriptor_set() -> None:
    commented = [file for file in descriptor_set("candela-public.binpb").file if file.source_code_info.location]
    assert any(file.package.startswith("candela.") for file in commented)
