"""A repository -> a local folder: the cache, then the Hub; whole and verified, or an error."""

import fnmatch
import logging
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePosixPath

from huggingface_hub import try_to_load_from_cache

from hftune import files as disk
from hftune.core import RepoRef
from hftune.errors import (
    HubError,
    RefError,
    RepoNotFoundError,
    RequestError,
    WeightsError,
)
from hftune.hub.client import HubSettings, ask, open_api, settings_from_environment
from hftune.hub.failure import errand_for
from hftune.hub.listing import (
    RemoteFile,
    matches,
    read_listing,
    snapshot_folder,
)
from hftune.hub.ref import parse_ref
from hftune.hub.resolve import naming_the_pull, resolve_commit
from hftune.units import format_size

logger = logging.getLogger(__name__)

PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib"})
_TAKEN = frozenset(
    {".safetensors", ".json", ".md", ".txt", ".yaml", ".yml", ".jpg", ".jpeg", ".png"}
)
_TAKEN_NAMES = frozenset({"LICENSE", "NOTICE"})
_WORKERS = 4


def pull(
    ref: RepoRef | str,
    *,
    files: Sequence[str] | None = None,
    to: Path | None = None,
    cache_dir: Path | None = None,
    settings: HubSettings | None = None,
) -> RepoRef:
    """Bring a repository here and give the reference with its commit and folder.

    `ref` may be a text such as "org/name@revision". A folder given as such is used where it lies.
    Otherwise every file of the wanted commit is taken from the cache or the Hub and compared with
    the digest in the repository's listing. `files` are names or patterns; without them a model
    gives its safetensors and texts, never pickles. `to` makes a copy outside the cache. Raises
    HubError and its kin, WeightsError where a model has pickled weights only, RefError when a
    folder is to be copied.
    """
    if isinstance(ref, str):
        ref = parse_ref(ref)
    if ref.folder is not None:
        return _local(ref, to)
    settings = settings or settings_from_environment()
    if cache_dir is not None:
        settings = replace(settings, cache=cache_dir)
    with naming_the_pull(ref, settings):
        pinned = resolve_commit(ref, settings=settings)
        wanted = _choose(read_listing(pinned, settings), files, pinned)
        _check_room(pinned, wanted, settings)
        with ThreadPoolExecutor(max_workers=_WORKERS) as pool:
            for _ in pool.map(lambda file: _fetch(pinned, file, settings), wanted):
                pass  # the first failure is raised here, when the others have ended
    folder = snapshot_folder(pinned, settings.cache)
    size = format_size(sum(file.size for file in wanted))
    logger.info("%s at %s: %d files, %s", ref.repo_id, pinned.commit, len(wanted), size)
    if to is not None:
        _copy_out(folder, wanted, to)
        folder = to
    return replace(pinned, folder=folder)


def _choose(
    listing: Sequence[RemoteFile], patterns: Sequence[str] | None, ref: RepoRef
) -> list[RemoteFile]:
    """Pick the files to take. Raises RepoNotFoundError, WeightsError."""
    if patterns is not None:
        return _named(listing, patterns, ref)
    if ref.kind == "dataset":
        return [file for file in listing if file.path != ".gitattributes"]
    _refuse_pickles_only(listing, ref)
    chosen = [file for file in listing if _is_taken(PurePosixPath(file.path))]
    if not chosen:
        raise RepoNotFoundError(
            "the repository holds no model",
            found=f"{len(listing)} files, none of them weights or texts",
            where=f"{ref.kind} {ref.repo_id} at {ref.commit}",
        )
    return chosen


def _named(
    listing: Sequence[RemoteFile], patterns: Sequence[str], ref: RepoRef
) -> list[RemoteFile]:
    """Give the files that names and patterns stand for. Raises RepoNotFoundError for none."""
    names = {file.path for file in listing}
    wanted = names.intersection(patterns)
    for pattern in patterns:
        if pattern in names:
            continue
        found = fnmatch.filter(names, pattern)
        if not found:
            raise RepoNotFoundError(
                "the repository has no such file",
                found=pattern,
                where=f"{ref.kind} {ref.repo_id} at {ref.commit}",
            )
        wanted.update(found)
    return [file for file in listing if file.path in wanted]


def _is_taken(path: PurePosixPath) -> bool:
    return path.suffix.lower() in _TAKEN or path.name in _TAKEN_NAMES


def _refuse_pickles_only(listing: Sequence[RemoteFile], ref: RepoRef) -> None:
    """Raise WeightsError when the only weights are pickles, which can run code when opened."""
    suffixes = {PurePosixPath(file.path).suffix.lower() for file in listing}
    if ".safetensors" in suffixes or not suffixes & PICKLES:
        return
    pickles = [file.path for file in listing if PurePosixPath(file.path).suffix.lower() in PICKLES]
    raise WeightsError(
        "this repository has pickled weights only; opening a pickle can run any code",
        found=", ".join(pickles[:5]),
        allowed="a .safetensors file",
        where=f"{ref.repo_id} at {ref.commit}",
        remedy="use a revision or repository with safetensors; or, if you trust the author,"
        " download the file yourself and set model.weights and model.allow_pickle",
    )


def _fetch(ref: RepoRef, file: RemoteFile, settings: HubSettings) -> None:
    """Bring one file into the cache with the right content. Raises HubError and its kin."""
    path = _cached(ref, file, settings)
    if path is None:
        path = _download(ref, file, settings, again=False)
    if matches(path, file):
        return
    if not settings.offline:
        logger.warning("%s of %s is damaged; downloading it again", file.path, ref.repo_id)
        path = _download(ref, file, settings, again=True)
        if matches(path, file):
            return
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    raise HubError(
        "a file's content is not what the repository's listing says, so it was thrown away",
        found=f"another sha than {file.sha256 or file.blob_id}",
        where=f"{ref.repo_id} at {ref.commit}, file {file.path}",
        remedy="run the same command again, over another network if it stays so; what arrived"
        " before is kept",
    )


def _check_room(ref: RepoRef, wanted: Sequence[RemoteFile], settings: HubSettings) -> None:
    """Raise DiskError where the cache has no room for the files that it lacks."""
    lacking = [file.size for file in wanted if _cached(ref, file, settings) is None]
    if lacking and not settings.offline:
        purpose = f"the {len(lacking)} files to download of {ref.repo_id}"
        disk.check_room(settings.cache, needed=sum(lacking), purpose=purpose)


def _cached(ref: RepoRef, file: RemoteFile, settings: HubSettings) -> Path | None:
    assert ref.repo_id is not None
    found = try_to_load_from_cache(
        ref.repo_id,
        file.path,
        cache_dir=settings.cache,
        revision=ref.commit,
        repo_type=ref.kind,
    )
    return Path(found) if isinstance(found, str) else None


def _download(ref: RepoRef, file: RemoteFile, settings: HubSettings, *, again: bool) -> Path:
    """Download one file at the commit; `again` even where the cache has it."""
    assert ref.repo_id is not None
    repo_id, api = ref.repo_id, open_api(settings)
    with disk.disk_errors(settings.cache):
        return Path(
            ask(
                settings,
                errand_for(ref, "download a file", settings.endpoint, path=file.path),
                lambda: api.hf_hub_download(
                    repo_id,
                    file.path,
                    revision=ref.commit,
                    repo_type=ref.kind,
                    cache_dir=settings.cache,
                    force_download=again,
                ),
            )
        )


def _local(ref: RepoRef, to: Path | None) -> RepoRef:
    assert ref.folder is not None
    if not ref.folder.is_dir():
        raise RefError("no such folder", found=str(ref.folder))
    if to is not None:
        raise RefError(
            "a local folder needs no pull",
            found=f"{ref.folder} to be copied to {to}",
            remedy="use the folder where it lies",
        )
    return ref


def _copy_out(folder: Path, wanted: Sequence[RemoteFile], to: Path) -> None:
    """Copy the files to `to`, all or none. Raises RequestError when `to` holds something else."""
    if to.exists():
        same = to.is_dir() and all(
            (to / file.path).is_file() and matches(to / file.path, file) for file in wanted
        )
        if same:
            logger.info("%s holds these files already", to)
            return
        if not to.is_dir() or any(to.iterdir()):
            raise RequestError(
                "the target folder exists and holds something else",
                where=str(to),
                remedy="name a new folder",
            )
    with disk.committed_folder(to) as aside:
        for file in wanted:
            target = aside / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / file.path, target)
