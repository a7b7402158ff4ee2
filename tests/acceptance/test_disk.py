"""Disks that are full, files that change, vanish or are damaged while a job is unfinished."""

from __future__ import annotations

import errno
import json
import os
import random
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from support.command import textmill, write_lines
from support.crashing import NEEDS_STRACE, Child, Injection, Job, snapshot, strace_works

ECHO = ("--engine", "echo", "--max-batch-tokens", "1500")
ROWS = [{"id": i, "text_inputs": f"text number {i} " + "x" * (i % 7)} for i in range(300)]


def some(folder):
    write_lines(folder / "in.jsonl", *ROWS[:9], b"{", *ROWS[9:])


@pytest.fixture(scope="module")
def child(tmp_path_factory):
    with Child(tmp_path_factory.mktemp("child")) as child:
        yield child


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return Job("some", tmp_path_factory.mktemp("job"), some, *ECHO)


def each(points, check):
    """Try all points; fail with all that went wrong."""
    wrong, outcomes = {}, []
    for point in points:
        try:
            outcomes.append(check(point))
        except AssertionError as error:
            wrong[point] = str(error)[:500]
    print(f"{len(points)} points", {one: outcomes.count(one) for one in set(outcomes)})
    assert not wrong, "\n".join(f"{point}: {error}" for point, error in wrong.items())
    return outcomes


# Full disks


@pytest.fixture
def mounted(tmp_path):
    """Mounts a tmpfs with these options; for the superuser only."""
    made = []

    def mount(name, options):
        folder = tmp_path / name
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("needs leave to mount a tmpfs: run the tests as root")
        made.append(folder)
        return folder

    yield mount
    for folder in made:
        subprocess.run(["umount", folder], check=True)


def fill(job, child, disk, room):
    """Run where only `room` bytes are free, then where there is plenty."""
    for entry in disk.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    some(disk)
    ballast = disk / "ballast"
    space = os.statvfs(disk)
    ballast.write_bytes(b"x" * (space.f_bavail * space.f_frsize - room))
    ended = child.run(job.arguments(disk))
    if ended.code == 2:
        assert "free some space there, or write to another disk" in ended.err
        if any((disk / "out.jsonl.job" / "parts").glob("*")):
            assert "finished rows are kept, and then the same line goes on" in ended.err
    complete = job.check_ended(ended, disk)
    ballast.unlink()
    job.check_resumed(child.run(job.arguments(disk)), disk)
    return "completed" if complete else "refused"


@pytest.mark.parametrize("rooms", [range(4096, 4096 * 40, 4096 * 7)], ids=["some sizes"])
def test_a_disk_with_some_room_is_refused_or_enough(job, child, mounted, rooms):
    disk = mounted("disk", "size=512k")
    outcomes = each([0, *rooms], lambda room: fill(job, child, disk, room))
    assert set(outcomes) == {"completed", "refused"}


@pytest.mark.full
def test_a_disk_with_any_number_of_free_pages(job, child, mounted):
    disk = mounted("disk", "size=512k")
    each(range(0, 4096 * 40, 4096), lambda room: fill(job, child, disk, room))


def test_a_disk_without_room_for_more_files(job, child, mounted):
    """Six inodes are the folder, the input and four that a job may make; it needs more."""
    outcomes = []
    for inodes in (3, 4, 5, 6, 7, 9, 30):
        disk = mounted(f"disk{inodes}", f"size=512k,nr_inodes={inodes}")
        some(disk)
        ended = child.run(job.arguments(disk))
        outcomes.append(job.check_ended(ended, disk))
        subprocess.run(["mount", "-o", "remount,nr_inodes=100", disk], check=True)
        job.check_resumed(child.run(job.arguments(disk)), disk)
    assert set(outcomes) == {True, False}


def test_a_folder_on_a_read_only_disk_is_refused_and_left_as_it_is(job, child, mounted):
    disk = mounted("disk", "size=512k")
    some(disk)
    before = snapshot(disk)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    ended = child.run(job.arguments(disk))
    assert (ended.code, "read-only file system" in ended.err.lower()) == (2, True), ended.err
    assert snapshot(disk) == before
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    job.check_resumed(child.run(job.arguments(disk)), disk)


def test_a_folder_one_may_not_write_to_is_refused(job, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere; see the read-only disk")
    some(tmp_path)
    tmp_path.chmod(0o555)
    ran = textmill(*job.arguments(tmp_path))
    tmp_path.chmod(0o755)
    assert (ran.code, "permission denied" in ran.err) == (2, True)
    assert sorted(snapshot(tmp_path)) == ["in.jsonl"]


HINTS = {errno.ENOSPC: "free some space", errno.EDQUOT: "quota", errno.EFBIG: "ulimit"}


@pytest.mark.parametrize("error", HINTS, ids=errno.errorcode.get)
def test_each_way_of_being_full_says_what_to_do(job, child, error):
    folder = job.lay_out("full")
    events = child.trip(job.arguments(folder), folder).events
    at = 1 + min(n for n, event in enumerate(events) if event.startswith("write"))
    folder = job.lay_out("full")
    ended = child.trip(job.arguments(folder), folder, at=at, error=error)
    assert (ended.code, HINTS[error] in ended.err) == (2, True), ended.err
    job.check_resumed(child.run(job.arguments(folder)), folder)


# The ground taken away


def while_standing_still(job, child, folder, at, meddle):
    """Run up to event `at`, meddle with its files, and let it go on to its end.

    How often logs are synced depends on time, so one of the last events may not come.
    """
    child.start_trip(job.arguments(folder), folder, at=at, number=signal.SIGSTOP)
    if not child.stopped():
        return child.ended()
    meddle(folder)
    return child.go_on()


def count_events(job, child):
    folder = job.lay_out("count")
    return len(child.trip(job.arguments(folder), folder).events)


def lose_the_folder(job, child, at, which):
    """What is committed stays; else the run ends with a message, and the line works again."""
    folder = job.lay_out("lost")

    def remove(folder):
        for path in [folder] if which == "all" else folder.glob("*.job*"):
            shutil.rmtree(path)

    ended = while_standing_still(job, child, folder, at, remove)
    assert "Traceback" not in ended.err, ended.err
    if which == "all":
        assert ended.code in (2, job.code), ended.err
        folder = job.lay_out("lost")
    elif ended.code == job.code:
        job.check_resumed(ended, folder)
    else:
        assert ended.code == 2, ended.err
        assert "error: " in ended.err
        job.check_visible(folder)
    job.check_resumed(child.run(job.arguments(folder)), folder)
    return ended.code


@pytest.mark.parametrize("which", ["all", "job"])
def test_a_folder_that_is_removed_under_the_run(job, child, which):
    events = range(1, count_events(job, child) + 1)
    points = random.Random(which).sample(events, 5)
    each(points, lambda at: lose_the_folder(job, child, at, which))


@pytest.mark.full
@pytest.mark.parametrize("which", ["all", "job"])
def test_a_folder_that_is_removed_under_the_run_anywhere(job, child, which):
    events = range(1, count_events(job, child) + 1)
    each(events, lambda at: lose_the_folder(job, child, at, which))


# Inputs that change


LONG = [{"id": i, "text_inputs": f"{i} " + "y" * 250} for i in range(20_000)]
"""Eight windows: more than half of them are still to be read when the first rows are done."""


@pytest.fixture(scope="module")
def long_job(tmp_path_factory):
    def prepare(folder):
        write_lines(folder / "in.jsonl", *LONG)

    return Job("long", tmp_path_factory.mktemp("long"), prepare, "--engine", "echo")


def other_text(path):
    """A row in the middle says something else; as many bytes as before."""
    data = bytearray(path.read_bytes())
    at = data.index(b"y" * 100, len(data) * 6 // 10)
    data[at : at + 6] = b"zzzzzz"
    path.write_bytes(data)


def other_text_in_another_file(path):
    new = path.with_name("new")
    shutil.copy(path, new)
    other_text(new)
    new.replace(path)


def longer(path):
    with path.open("ab") as file:
        file.write(b'{"id": "late", "text_inputs": "late"}\n')


def shorter(path):
    os.truncate(path, path.stat().st_size // 2)


def missing(path):
    path.unlink()


MEDDLERS = [
    other_text,
    *(longer, missing, shorter, other_text_in_another_file),
]


def change_the_input(job, child, at, meddle):
    """The old text's result or none; and with the old text back, the old text's result.

    What is changed before it is first looked at is simply another input.
    """
    folder = job.lay_out("changed")
    source = folder / "in.jsonl"
    before = source.read_bytes()
    ended = while_standing_still(job, child, folder, at, lambda folder: meddle(source))
    assert "Traceback" not in ended.err, ended.err
    now = snapshot(folder)
    if source.exists() and "out.manifest.json" in now:
        (read,) = json.loads((folder / "out.manifest.json").read_bytes())["inputs"]
        if read["sha256"] == job.digest(source.read_bytes()) != job.digest(before):
            return "another input"
    assert ended.code in (0, 2), ended.err
    if ended.code == 0:
        assert now["out.jsonl"] == job.expected["out.jsonl"], "the result of a changed input"
    else:
        assert "in.jsonl" in ended.err
        assert "out.jsonl" not in now
        if "has changed while it was read" in ended.err:
            assert "start over with --fresh" in ended.err
    source.write_bytes(before)
    job.check_resumed(child.run(job.arguments(folder)), folder)
    return ended.code


def first_frames(job, child):
    """The numbers of the first events that write finished rows."""
    folder = job.lay_out("changed")
    events = child.trip(job.arguments(folder), folder).events
    return [n for n, event in enumerate(events, 1) if "Log.append" in event or "parts" in event]


@pytest.mark.parametrize("meddle", MEDDLERS[:3])
def test_an_input_that_changes_while_it_is_read(long_job, child, meddle):
    at = first_frames(long_job, child)[3]
    change_the_input(long_job, child, at, meddle)


@pytest.mark.full
@pytest.mark.parametrize("meddle", MEDDLERS)
def test_an_input_that_changes_at_any_moment(long_job, child, meddle):
    events = range(1, count_events(long_job, child) + 1)
    each(events[::3], lambda at: change_the_input(long_job, child, at, meddle))


@pytest.mark.full
@pytest.mark.skipif(not strace_works(), reason=NEEDS_STRACE)
def test_an_input_that_changes_between_its_digest_and_its_rows(job, child):
    """Stops at each read of the input; `signal=STOP` comes when the read is done."""
    folder = job.lay_out("reads")
    reads = [
        call
        for call in child.traced(job.arguments(folder), folder).calls
        if call.main and call.path.endswith("in.jsonl") and call.name in ("read", "openat")
    ]
    assert reads

    def check(call):
        folder = job.lay_out("reads")
        source = folder / "in.jsonl"
        before = source.read_bytes()
        child.start_traced(job.arguments(folder), folder, Injection(call, "signal=STOP"))
        assert child.stopped_traced()
        source.write_bytes(before.replace(b"text number 7 ", b"changed no. 7 "))
        ended = child.go_on_traced()
        now = snapshot(folder)
        assert "Traceback" not in ended.err, ended.err
        if ended.code == 2:
            assert "in.jsonl" in ended.err
        else:
            (digest,) = json.loads((folder / "out.manifest.json").read_bytes())["inputs"]
            assert ended.code == job.code
            if now["out.jsonl"] == job.expected["out.jsonl"]:
                assert digest["sha256"] == job.digest(before), "a result and another's digest"
            else:
                assert digest["sha256"] == job.digest(source.read_bytes()), "a wrong digest"
        return ended.code

    each(reads, check)


# Damaged files of an unfinished job


@pytest.fixture(scope="module")
def unfinished(job, child):
    """The folder of a killed job: one window complete, another begun, and where it stands."""
    events = count_events(job, child)
    best = None
    for at in range(events // 4, events):
        folder = job.lay_out("killed")
        child.trip(job.arguments(folder), folder, at=at)
        frames = [data.count(b'{"frame":') for data in parts_of(folder).values()]
        if frames and frames[0] >= 4:
            best = folder
            break
    assert best, "the job has no part of four frames"
    yield best
    shutil.rmtree(best)


def parts_of(folder):
    found = sorted((folder / "out.jsonl.job" / "parts").glob("*"))
    return {path: path.read_bytes() for path in found}


def cut(data, chance):
    return data[: chance.randrange(len(data))]


def flip(data, chance):
    changed = bytearray(data)
    changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def repeat_the_tail(data, chance):
    frames = frames_of(data)
    return data + b"".join(frames[-chance.randint(1, len(frames)) :])


def swap_frames(data, chance):
    frames = frames_of(data)
    first, second = chance.sample(range(len(frames)), 2)
    frames[first], frames[second] = frames[second], frames[first]
    return b"".join(frames)


def leave_out_a_frame(data, chance):
    frames = frames_of(data)
    del frames[chance.randrange(len(frames))]
    return b"".join(frames)


def fill_with_zeros(data, chance):
    """What some file systems leave after a power cut: the length, but not the bytes."""
    keep = chance.randrange(len(data))
    return data[:keep] + bytes(len(data) - keep)


def add_rubbish(data, chance):
    return data + chance.randbytes(chance.randint(1, 200))


def empty(data, chance):
    return b""


def delete(data, chance):
    return None


def frames_of(data):
    """Frames with their markers; what follows the last is left out."""
    frames, lines = [], []
    for line in data.splitlines(keepends=True):
        lines.append(line)
        if line.startswith(b'{"frame":'):
            frames.append(b"".join(lines))
            lines = []
    return frames


DAMAGES = [
    *(cut, flip, repeat_the_tail, swap_frames, leave_out_a_frame),
    *(fill_with_zeros, add_rubbish, empty, delete),
]


def damage_and_resume(job, child, unfinished, name, data):
    """Resumes to the right bytes, or refuses and says which file it is."""
    folder = job.lay_out("damaged")
    shutil.copytree(unfinished, folder, dirs_exist_ok=True)
    path = folder / name
    path.unlink() if data is None else path.write_bytes(data)
    ran = child.run(job.arguments(folder))
    assert "Traceback" not in ran.err, ran.err
    if ran.code == job.code:
        job.check_resumed(ran, folder)
        return "resumed"
    assert ran.code in (2, 70), ran.err
    assert "error: " in ran.err
    assert Path(name).name in ran.err or "part 0" in ran.err, f"names no file: {ran.err}"
    assert "out.jsonl" not in snapshot(folder)
    advised = re.search(r"remove (\S+) and run the same line again", ran.err)
    if advised:
        Path(advised[1]).unlink()
    assert advised or "--fresh" in ran.err, ran.err
    ran = child.run([*job.arguments(folder), *(() if advised else ("--fresh",))])
    job.check_resumed(ran, folder)
    return "refused"


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_part_is_mended_or_refused(job, child, unfinished, damage):
    """The sample of `make test`."""
    chance = random.Random(damage.__name__)

    def check(_):
        path, data = chance.choice(list(parts_of(unfinished).items()))
        name = path.relative_to(unfinished)
        return damage_and_resume(job, child, unfinished, name, damage(data, chance))

    each(range(1 if damage in (empty, delete) else 4), check)


@pytest.mark.full
@pytest.mark.parametrize("damage", [cut, flip, fill_with_zeros])
def test_a_part_damaged_at_every_eleventh_byte(job, child, unfinished, damage):
    class At(random.Random):
        """Chooses this place, and any bit."""

        def randrange(self, stop):
            return self.place if stop > 8 else super().randrange(stop)

    for path, data in parts_of(unfinished).items():

        def check(place, path=path, data=data):
            chance = At(place)
            chance.place = place
            name = path.relative_to(unfinished)
            return damage_and_resume(job, child, unfinished, name, damage(data, chance))

        each(range(0, len(data), 11), check)


@pytest.mark.full
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_part_damaged_in_60_ways(job, child, unfinished, damage):
    chance = random.Random(damage.__name__ + "full")

    def check(_):
        path, data = chance.choice(list(parts_of(unfinished).items()))
        name = path.relative_to(unfinished)
        return damage_and_resume(job, child, unfinished, name, damage(data, chance))

    each(range(60), check)


@pytest.mark.full
def test_two_bits_flipped_anywhere_in_the_job_folder(job, child, unfinished):
    """The description of the job and all else that is kept, too."""
    chance = random.Random(6)
    files = [path for path in (unfinished / "out.jsonl.job").rglob("*") if path.is_file()]
    files = [path for path in files if path.stat().st_size]

    def check(_):
        path = chance.choice(files)
        data = flip(flip(path.read_bytes(), chance), chance)
        return damage_and_resume(job, child, unfinished, path.relative_to(unfinished), data)

    each(range(150), check)


def test_parts_that_have_changed_places_are_refused(job, child, unfinished):
    folder = job.lay_out("damaged")
    shutil.copytree(unfinished, folder, dirs_exist_ok=True)
    names = [path.name for path in parts_of(folder)]
    parts = folder / "out.jsonl.job" / "parts"
    if len(names) < 2:
        (parts / names[0]).rename(parts / names[0].replace("0.", "1."))
    else:
        first, second = ((parts / name).read_bytes() for name in names[:2])
        (parts / names[0]).write_bytes(second)
        (parts / names[1]).write_bytes(first)
    ran = child.run(job.arguments(folder))
    if ran.code == job.code:
        job.check_resumed(ran, folder)
    else:
        assert (ran.code in (2, 70), "error: " in ran.err) == (True, True), ran.err
