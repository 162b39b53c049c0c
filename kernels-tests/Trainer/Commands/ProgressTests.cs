// SPDX-License-Identifier: Apache-2.0
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Trainer.Commands;

/// <summary>Progress by a clock that only the tests move.</summary>
[TestFixture]
internal sealed class ProgressTests
{
    private readonly HandClock _clock = new();
    private StringWriter _output = new();

    [SetUp]
    public void Empty() => _output = new StringWriter();

    [TearDown]
    public void Close() => _output.Dispose();

    [Test]
    public void File_gets_a_line_at_every_tenth_and_no_other_while_it_is_fast()
    {
        using Progress progress = File(200);
        for (int done = 1; done <= 200; done++)
        {
            Report(progress, done, seconds: 0.1);
        }

        Assert.That(Lines.Select(line => line.Split(' ')[0]), Is.EqualTo(Enumerable.Range(1, 10).Select(tenth => $"{20 * tenth}/200")));
    }

    [Test]
    public void File_gets_a_line_after_ten_seconds_of_silence()
    {
        using Progress progress = File(1000);
        for (int done = 1; done <= 9; done++)
        {
            Report(progress, done, seconds: 4);
        }

        Assert.That(Lines, Is.EqualTo(new[] { "3/1000 steps, 12 s, about 66 min left", "6/1000 steps, 24 s, about 66 min left", "9/1000 steps, 36 s, about 66 min left" }));
    }

    [Test]
    public void Line_with_a_note_tells_the_time_left_before_it_and_the_last_line_tells_none()
    {
        using Progress progress = File(10);
        for (int done = 1; done <= 10; done++)
        {
            Report(progress, done, seconds: 5, note: "loss 1.5");
        }

        Assert.That(Lines[0], Is.EqualTo("1/10 steps, 5 s, loss 1.5"), "one report says nothing about the pace");
        Assert.That(Lines[4], Is.EqualTo("5/10 steps, 25 s, about 25 s left, loss 1.5"));
        Assert.That(Lines[9], Is.EqualTo("10/10 steps, 50 s, loss 1.5"));
    }

    [Test]
    public void Steps_of_an_earlier_call_do_not_count_as_pace()
    {
        using Progress progress = File(100);
        Report(progress, 51, seconds: 30);
        Report(progress, 61, seconds: 20);

        Assert.That(Lines[^1], Is.EqualTo("61/100 steps, 50 s, about 1 min left"), "ten steps in 20 s leave 39 for 78 s");
    }

    [TestCase(0.5, "about 5 s left")]
    [TestCase(3.4, "about 35 s left")]
    [TestCase(5.7, "about 55 s left")]
    [TestCase(5.8, "about 1 min left")]
    [TestCase(13.0, "about 2 min left")]
    [TestCase(500.0, "about 83 min left")]
    [TestCase(900.0, "about 2.5 h left")]
    public void Time_left_is_rounded_to_what_the_pace_can_tell(double secondsEach, string expected)
    {
        using Progress progress = File(20);
        for (int done = 8; done <= 10; done++)
        {
            Report(progress, done, secondsEach);
        }

        Assert.That(Lines[^1], Does.EndWith(expected));
    }

    [Test]
    public void Older_numbers_from_another_thread_make_no_line()
    {
        using Progress progress = File(10);
        Report(progress, 5, seconds: 1);
        Report(progress, 4, seconds: 11);

        Assert.That(Lines, Is.EqualTo(new[] { "5/10 steps, 1 s" }));
    }

    [Test]
    public void Terminal_redraws_one_line_ten_times_a_second_with_the_time_left()
    {
        using (Progress progress = new("steps", 100, _output, _clock, terminal: true))
        {
            for (int done = 1; done <= 50; done++)
            {
                Report(progress, done, seconds: 0.05);
            }
        }

        string[] drawn = _output.ToString().TrimEnd('\n').Split('\r', StringSplitOptions.RemoveEmptyEntries);
        Assert.That(drawn, Has.Length.InRange(25, 26));
        Assert.That(drawn[^1], Does.StartWith("##############----------------").And.EndsWith("about 5 s left\e[K"));
        Assert.That(_output.ToString(), Does.EndWith("\n"));
    }

    private string[] Lines => _output.ToString().Split('\n', StringSplitOptions.RemoveEmptyEntries);

    private Progress File(int total) => new("steps", total, _output, _clock, terminal: false);

    private void Report(Progress progress, int done, double seconds, string note = "")
    {
        _clock.Pass(seconds);
        progress.Report(done, note);
    }

    private sealed class HandClock : TimeProvider
    {
        private long _now;

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => _now;

        public void Pass(double seconds) => _now += TimeSpan.FromSeconds(seconds).Ticks;
    }
}
