"""S3 and what speaks its language, through boto3, which has the conditional write that pyarrow's client lacks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import unquote

from neglora.storage.errors import StorageError, Transient
from neglora.storage.uri import parts, shown

#: Seconds until a machine that does not answer counts as away; the second one between any two packets.
CONNECT_SECONDS = 5
READ_SECONDS = 20
OPTIONS = ("scheme", "endpoint_override", "region", "force_virtual_addressing")
#: Beside what each write of this program has of its own.
_TOKEN = "neglora-token"  # noqa: S105
#: Codes of requests that were refused for who asks.
_DENIED = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "AccessDenied")
_WHO = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the machine's role"


@dataclass(frozen=True)
class S3Backend:
    """See `neglora.storage.objects.Backend`.

    Attributes:
        client: of boto3. It does not try again by itself.
        bucket: must exist; none is ever made.
        prefix: of all keys, ends with `/` unless it is empty.
        endpoint: where requests go, for messages.
    """

    client: Any
    bucket: str
    prefix: str
    endpoint: str

    @classmethod
    def open(cls, uri: str) -> S3Backend:
        """Open a URI, without any request yet.

        Raises:
            StorageError: it has no bucket or unknown options, or this machine's AWS settings cannot be used.
        """
        import boto3
        import botocore.exceptions
        import botocore.session
        from botocore.config import Config

        _, bucket, path, options = parts(uri)
        unknown = [name for name in options if name not in OPTIONS]
        if unknown:
            raise StorageError(f"{shown(uri)}: unknown option {unknown[0]!r}; options are {', '.join(OPTIONS)}")
        if not bucket:
            raise StorageError(f"{shown(uri)} names no bucket: s3://BUCKET/PATH")
        endpoint = options.get("endpoint_override")
        if endpoint and "://" not in endpoint:
            endpoint = f"{options.get('scheme', 'https')}://{endpoint}"
        virtual = options.get("force_virtual_addressing", "").lower() in ("1", "true")
        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"total_max_attempts": 1},
            tcp_keepalive=True,
            s3={"addressing_style": "virtual"} if virtual else None,
        )
        try:
            # A session of its own, since threads must not share the default one; what S3 is need not be read again.
            session = botocore.session.Session()
            session.register_component("data_loader", _loader())
            client = boto3.session.Session(botocore_session=session).client(
                "s3", endpoint_url=endpoint, region_name=options.get("region"), config=config
            )
        except (botocore.exceptions.BotoCoreError, ValueError) as error:
            raise StorageError(f"{shown(uri)} cannot be opened: {error}") from error
        prefix = unquote(path).strip("/")
        return cls(client, bucket, f"{prefix}/" if prefix else "", shown(client.meta.endpoint_url))

    def read(self, name: str) -> bytes:
        with self._told():
            data: bytes = self.client.get_object(Bucket=self.bucket, Key=self._key(name))["Body"].read()
            return data

    def write(self, name: str, data: bytes) -> None:
        with self._told():
            self.client.put_object(Bucket=self.bucket, Key=self._key(name), Body=data)

    def write_new(self, name: str, data: bytes, *, token: str) -> bool:
        try:
            with self._told():
                self.client.put_object(
                    Bucket=self.bucket, Key=self._key(name), Body=data, IfNoneMatch="*", Metadata={_TOKEN: token}
                )
                return True
        except FileExistsError:
            # By oneself, if the answer to an earlier attempt was lost.
            return self._token(name) == token

    def exists(self, name: str) -> bool:
        # A HEAD's 404 does not say whether the bucket is missing. Of all with a prefix, the prefix itself comes first.
        key = self._key(name)
        with self._told():
            found = self.client.list_objects_v2(Bucket=self.bucket, Prefix=key, MaxKeys=1)
        return any(one["Key"] == key for one in found.get("Contents", ()))

    def names(self, folder: str) -> list[str]:
        prefix = f"{self._key(folder)}/" if folder else self.prefix
        with self._told():
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
            keys = [one["Key"] for page in pages for one in page.get("Contents", ())]
        # Keys that end with a slash are what consoles show as folders.
        return [key[len(self.prefix) :] for key in keys if not key.endswith("/")]

    def delete(self, name: str) -> None:
        with self._told():
            self.client.delete_object(Bucket=self.bucket, Key=self._key(name))

    def _key(self, name: str) -> str:
        return self.prefix + name

    def _token(self, name: str) -> str | None:
        """What the writer of an object put beside it; None where there is no such object any more."""
        try:
            with self._told():
                found = self.client.head_object(Bucket=self.bucket, Key=self._key(name))
        except FileNotFoundError:
            return None
        token: str | None = found["Metadata"].get(_TOKEN)
        return token

    @contextmanager
    def _told(self) -> Iterator[None]:
        """boto3's errors as those of `Backend`; FileExistsError where a conditional write found something."""
        import botocore.exceptions as failed

        try:
            yield
        except failed.ClientError as error:
            raise self._answer(error) from error
        except failed.SSLError as error:
            raise OSError(f"{error}; check the certificates of {self.endpoint}") from error
        except (failed.ConnectionError, failed.HTTPClientError) as error:
            raise Transient(
                f"{self.endpoint} does not answer ({type(error).__name__}): check the network of this machine, and the "
                "address in endpoint_override or AWS_ENDPOINT_URL if there is one"
            ) from error
        except (failed.IncompleteReadError, failed.ChecksumError, failed.FlexibleChecksumError) as error:
            raise Transient(f"it arrived damaged: {error}", answered=True) from error
        except (failed.NoCredentialsError, failed.PartialCredentialsError) as error:
            raise OSError(f"no credentials were found: set {_WHO} (docs/storage.md)") from error
        except failed.BotoCoreError as error:
            profile = os.environ.get("AWS_PROFILE")
            raise OSError(f"{error}; credentials are {_WHO}" + (f" (now {profile!r})" if profile else "")) from error

    def _answer(self, error: Any) -> OSError:
        """What the store said, and what to do about it."""
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code == "NoSuchBucket":
            return OSError(f"there is no bucket {self.bucket!r}: make it, or mend the URI")
        if code == "RequestTimeTooSkewed":
            return OSError("the clock of this machine differs too much from the store's: set it right")
        if code in _DENIED or status in (401, 403):
            return OSError(
                f"access is denied ({code or status}): the credentials of this machine ({_WHO}) must be valid and may "
                f"list, read, write and remove objects of the bucket {self.bucket!r}"
            )
        if status == 412:
            return FileExistsError(code)
        if code in ("NoSuchKey", "404"):
            return FileNotFoundError(f"there is no such object in {self.bucket!r}")
        if status >= 500 or status in (408, 409, 429) or code in ("SlowDown", "RequestTimeout"):
            return Transient(f"the store is busy or ill ({code or status}): try again later", answered=True)
        return OSError(f"{code or status}: {error.response.get('Error', {}).get('Message', error)}")


@cache
def _loader() -> Any:
    import botocore.loaders

    return botocore.loaders.create_loader()
