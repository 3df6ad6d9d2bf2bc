"""The parts of the small Candela that take long: jobs, files in pieces, answers in pieces, a stream both ways."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.empty_pb2 import Empty
from google.rpc import error_details_pb2, status_pb2

from candela.chat.v1 import message_pb2, message_service_pb2
from candela.recognition.v1 import plate_service_pb2, recognition_job_pb2, recognition_job_service_pb2
from candela.type.v1 import job_pb2
from candela.user.v1 import file_pb2, file_service_pb2
from tests.unit.client.fake_candela import Context, World, fail, offering, unavailable

SUCCEEDED, FAILED, CANCELLED = job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED
MESSAGE_PIECES = ("Once ", "upon ", "a ", "time")
PIECE = 10


@dataclass
class Work:
    """What the fake keeps of long work. `ends` are what jobs come to, one for each look at a job."""

    ends: list["job_pb2.JobState.ValueType"] = field(default_factory=list)
    job: recognition_job_pb2.RecognitionJob = field(default_factory=recognition_job_pb2.RecognitionJob)
    files: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, tuple[file_pb2.Upload, bytearray]] = field(default_factory=dict)
    # After how many pieces a download or an answer breaks off, one number for each call; 0 for never.
    breaks: list[int] = field(default_factory=list)
    broken_hashes: bool = False

    def services(self, world: World) -> list[Callable[[grpc.Server], None]]:
        """Returns what adds these services to a server."""
        offered = (
            (recognition_job_service_pb2.DESCRIPTOR, "RecognitionJobService", Jobs(world, self)),
            (file_service_pb2.DESCRIPTOR, "FileService", Files(world, self)),
            (message_service_pb2.DESCRIPTOR, "MessageService", Messages(world, self)),
            (plate_service_pb2.DESCRIPTOR, "PlateService", Plates()),
        )
        return [offering(file.services_by_name[name], servicer) for file, name, servicer in offered]

    def next_break(self) -> int:
        return self.breaks.pop(0) if self.breaks else 0

    def end(self, state: "job_pb2.JobState.ValueType") -> None:
        self.job.status.state = state
        if state == FAILED:
            self.job.status.error.code = grpc.StatusCode.INVALID_ARGUMENT.value[0]
            info = error_details_pb2.ErrorInfo(reason="MEDIA_UNREADABLE", domain="candela.dev")
            self.job.status.error.message = "no picture"
            self.job.status.error.details.add().Pack(info)


class Jobs:
    """One job that becomes what it is told to become, and streams for four names."""

    def __init__(self, world: World, work: Work) -> None:
        self.world = world
        self.work = work

    def CreateRecognitionJob(
        self, request: recognition_job_service_pb2.CreateRecognitionJobRequest, context: Context
    ) -> recognition_job_pb2.RecognitionJob:
        def work() -> recognition_job_pb2.RecognitionJob:
            self.work.job.name = "recognitionJobs/1"
            self.work.job.status.state = job_pb2.JOB_STATE_QUEUED
            return self.work.job

        return self.world.handle("CreateRecognitionJob", request, context, work)

    def GetRecognitionJob(
        self, request: recognition_job_service_pb2.GetRecognitionJobRequest, context: Context
    ) -> recognition_job_pb2.RecognitionJob:
        def work() -> recognition_job_pb2.RecognitionJob:
            if self.work.ends:
                self.work.end(self.work.ends.pop(0))
            return self.work.job

        return self.world.handle("GetRecognitionJob", request, context, work)

    def CancelRecognitionJob(
        self, request: recognition_job_service_pb2.CancelRecognitionJobRequest, context: Context
    ) -> recognition_job_pb2.RecognitionJob:
        def work() -> recognition_job_pb2.RecognitionJob:
            if self.work.job.status.state != SUCCEEDED:
                self.work.job.status.state = CANCELLED
            return self.work.job

        return self.world.handle("CancelRecognitionJob", request, context, work)

    def WatchRecognitionJob(
        self, request: recognition_job_service_pb2.WatchRecognitionJobRequest, context: Context
    ) -> Iterator[recognition_job_service_pb2.RecognitionJobEvent]:
        self.world.handle("WatchRecognitionJob", request, context, Empty)
        for seq in range(1, 4):
            event = recognition_job_service_pb2.RecognitionJobEvent(seq=seq)
            event.progress.progress = seq / 4
            yield event
        end = recognition_job_service_pb2.RecognitionJobEvent(seq=4)
        match request.name:
            case "recognitionJobs/good":
                end.completed.recognition_job.recognition = "recognitions/7"
                yield end
            case "recognitionJobs/bad":
                info = error_details_pb2.ErrorInfo(reason="MEDIA_UNREADABLE", domain="candela.dev")
                end.error.CopyFrom(
                    status_pb2.Status(code=grpc.StatusCode.INVALID_ARGUMENT.value[0], message="no picture")
                )
                end.error.details.add().Pack(info)
                yield end
            case "recognitionJobs/broken":
                unavailable(context)


class Files:
    """Files by their bytes."""

    def __init__(self, world: World, work: Work) -> None:
        self.world = world
        self.work = work

    def _stored(self, content: bytes, filename: str) -> file_pb2.File:
        name = f"files/{len(self.work.files)}"
        self.work.files[name] = content
        return self._described(name, filename)

    def _described(self, name: str, filename: str = "") -> file_pb2.File:
        content = self.work.files[name]
        digest = "0" * 64 if self.work.broken_hashes else hashlib.sha256(content).hexdigest()
        return file_pb2.File(name=name, filename=filename, size_bytes=len(content), sha256=digest)

    def CreateFile(self, request: file_service_pb2.CreateFileRequest, context: Context) -> file_pb2.File:
        return self.world.handle(
            "CreateFile", request, context, lambda: self._stored(request.content, request.filename)
        )

    def GetFile(self, request: file_service_pb2.GetFileRequest, context: Context) -> file_pb2.File:
        return self.world.handle("GetFile", request, context, lambda: self._described(request.name))

    def CreateUpload(self, request: file_service_pb2.CreateUploadRequest, context: Context) -> file_pb2.Upload:
        def work() -> file_pb2.Upload:
            name = f"uploads/{len(self.work.uploads)}"
            made = file_pb2.Upload(name=name, filename=request.filename, size_bytes=request.size_bytes)
            self.work.uploads[name] = (made, bytearray())
            return made

        return self.world.handle("CreateUpload", request, context, work)

    def GetUpload(self, request: file_service_pb2.GetUploadRequest, context: Context) -> file_pb2.Upload:
        return self.world.handle("GetUpload", request, context, lambda: self.work.uploads[request.name][0])

    def WriteUpload(self, request: file_service_pb2.WriteUploadRequest, context: Context) -> file_pb2.Upload:
        def work() -> file_pb2.Upload:
            state, content = self.work.uploads[request.name]
            if request.offset > len(content):
                fail(context, grpc.StatusCode.FAILED_PRECONDITION, "UPLOAD_INCOMPLETE")
            content[request.offset :] = request.content
            state.received_bytes = len(content)
            return state

        return self.world.handle("WriteUpload", request, context, work)

    def CompleteUpload(self, request: file_service_pb2.CompleteUploadRequest, context: Context) -> file_pb2.File:
        def work() -> file_pb2.File:
            state, content = self.work.uploads[request.name]
            if hashlib.sha256(content).hexdigest() != request.sha256:
                fail(context, grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
            return self._stored(bytes(content), state.filename)

        return self.world.handle("CompleteUpload", request, context, work)

    def DownloadFile(self, request: file_service_pb2.DownloadFileRequest, context: Context) -> Iterator[HttpBody]:
        self.world.handle("DownloadFile", request, context, Empty)
        content = self.work.files[request.name][request.offset :]
        broken = self.work.next_break()
        for number, start in enumerate(range(0, len(content), PIECE)):
            if broken and number >= max(broken, 0):
                unavailable(context)
            yield HttpBody(data=content[start : start + PIECE])


class Messages:
    """An answer of four pieces that can go on anywhere."""

    def __init__(self, world: World, work: Work) -> None:
        self.world = world
        self.work = work

    def SendMessage(
        self, request: message_service_pb2.SendMessageRequest, context: Context
    ) -> Iterator[message_service_pb2.MessageEvent]:
        self.world.handle("SendMessage", request, context, Empty)
        yield message_service_pb2.MessageEvent(queue_position=2)
        yield from self._events(context, 0)

    def ResumeMessage(
        self, request: message_service_pb2.ResumeMessageRequest, context: Context
    ) -> Iterator[message_service_pb2.MessageEvent]:
        self.world.handle("ResumeMessage", request, context, Empty)
        yield from self._events(context, request.after_seq)

    def _events(self, context: Context, after: int) -> Iterator[message_service_pb2.MessageEvent]:
        started = message_service_pb2.MessageEvent(seq=1)
        started.started.reply.name = "conversations/1/messages/2"
        events = [started]
        for seq, text in enumerate(MESSAGE_PIECES, start=2):
            events.append(message_service_pb2.MessageEvent(seq=seq))
            events[-1].text_delta.text = text
        end = message_service_pb2.MessageEvent(seq=len(events) + 1)
        end.completed.reply.CopyFrom(message_pb2.Message(name="conversations/1/messages/2"))
        broken = self.work.next_break()
        for number, event in enumerate([*events, end][after:]):
            if broken and number >= max(broken, 0):
                unavailable(context)
            yield event


class Plates:
    """Counts frames and says so after each."""

    def RecognizePlateVideo(
        self, requests: Iterator[plate_service_pb2.RecognizePlateVideoRequest], context: Context
    ) -> Iterator[plate_service_pb2.PlateVideoEvent]:
        frames = 0
        for request in requests:
            if request.HasField("frame"):
                frames += 1
                event = plate_service_pb2.PlateVideoEvent(seq=frames)
                event.track_found.SetInParent()
                yield event
        end: Any = plate_service_pb2.PlateVideoEvent(seq=frames + 1)
        end.completed.frames_read = frames
        yield end
