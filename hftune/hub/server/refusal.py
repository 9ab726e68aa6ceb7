"""The answers that say no: a status, the client's error code and a sentence."""

_MOST_IN_HEADER = 500  # characters; a message may quote what was sent


class Refusal(Exception):
    """A request that is not carried out; the client library picks its exception by `code`.

    `commit` travels as X-Repo-Commit, `location` makes the answer a redirect.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        commit: str | None = None,
        location: str | None = None,
    ) -> None:
        self.status = status
        self.message = message
        self.code = code
        self.commit = commit
        self.location = location
        super().__init__(message)

    def headers(self) -> dict[str, str]:
        """Give the reply's headers; texts are made safe for a header line."""
        line = "".join(letter if letter.isprintable() else " " for letter in self.message)
        line = line.encode("ascii", "backslashreplace").decode("ascii")
        headers = {"X-Error-Message": line[:_MOST_IN_HEADER].strip()}
        if self.code is not None:
            headers["X-Error-Code"] = self.code
        if self.commit is not None:
            headers["X-Repo-Commit"] = self.commit
        if self.location is not None:
            headers["Location"] = self.location
        return headers


def repo_not_found(*, has_token: bool) -> Refusal:
    """Answer for a repository that is absent or hidden; the two must look alike."""
    if has_token:
        return Refusal(404, "Repository not found", code="RepoNotFound")
    return Refusal(401, "Repository not found, or it needs a token", code="RepoNotFound")


def revision_not_found(revision: str) -> Refusal:
    """Answer for a branch, tag or commit that is absent."""
    return Refusal(404, f"Invalid rev id: {revision}", code="RevisionNotFound")


def entry_not_found(path: str, commit: str) -> Refusal:
    """Answer for a file or folder that `commit` does not hold."""
    return Refusal(404, f"'{path}' does not exist", code="EntryNotFound", commit=commit)
