// SPDX-License-Identifier: Apache-2.0
using System.Globalization;

namespace HiMo.Trainer;

/// <summary>
/// How far a long job is, and about how long it still takes: a bar that is redrawn on a terminal, and in a file a plain line at every tenth
/// and whenever the last one is ten seconds old. Reports may come from several threads.
/// </summary>
internal sealed class Progress : IDisposable
{
    private const int Width = 30;

    private static readonly TimeSpan s_redraw = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan s_silence = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan s_shortestSample = TimeSpan.FromSeconds(1);

    private readonly string _what;
    private readonly int _total;
    private readonly TextWriter _output;
    private readonly TimeProvider _clock;
    private readonly bool _terminal;
    private readonly Lock _lock = new();
    private readonly long _start;
    private (int Done, long Time)? _first;
    private long _shown;
    private int _last;
    private int _tenths;
    private bool _open;

    /// <summary>Starts the clock; nothing is shown until the first report.</summary>
    /// <param name="what">The unit, for example "steps".</param>
    /// <param name="total">Number of units at the end.</param>
    /// <param name="output">Where to show it; only the process's error stream can be a terminal.</param>
    public Progress(string what, int total, TextWriter output)
        : this(what, total, output, TimeProvider.System, ReferenceEquals(output, Console.Error) && !Console.IsErrorRedirected)
    {
    }

    /// <summary>The same with a clock and a kind of output of one's own.</summary>
    /// <param name="what">The unit.</param>
    /// <param name="total">Number of units at the end.</param>
    /// <param name="output">Where to show it.</param>
    /// <param name="clock">Tells the time.</param>
    /// <param name="terminal">Whether the output can redraw its line.</param>
    internal Progress(string what, int total, TextWriter output, TimeProvider clock, bool terminal)
    {
        (_what, _total, _output, _clock, _terminal) = (what, total, output, clock, terminal);
        _start = _shown = clock.GetTimestamp();
    }

    /// <summary>Shows the state where enough has changed.</summary>
    /// <param name="done">Finished units; lower numbers than before are ignored in a file.</param>
    public void Report(int done) => Report(done, "");

    /// <summary>Shows the state where enough has changed.</summary>
    /// <param name="done">Finished units.</param>
    /// <param name="note">Shown behind it, for example the loss.</param>
    public void Report(int done, string note)
    {
        lock (_lock)
        {
            _first ??= (done, _clock.GetTimestamp());
            TimeSpan silent = _clock.GetElapsedTime(_shown);
            if (_terminal)
            {
                if (done == _total || !_open || silent >= s_redraw)
                {
                    int filled = (int)((long)done * Width / Math.Max(1, _total));
                    _output.Write($"\r{new string('#', filled)}{new string('-', Width - filled)} {State(done, note)}\e[K");
                    _shown = _clock.GetTimestamp();
                    _open = true;
                }
            }
            else if ((long)done * 10 / Math.Max(1, _total) is long tenths && (tenths > _tenths || (silent >= s_silence && done >= _last)))
            {
                (_tenths, _last, _shown) = ((int)tenths, done, _clock.GetTimestamp());
                _output.WriteLine(State(done, note));
            }
        }
    }

    /// <summary>Ends the bar's line.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            if (_open)
            {
                _output.WriteLine();
                _open = false;
            }
        }
    }

    private string State(int done, string note)
    {
        string elapsed = string.Create(CultureInfo.InvariantCulture, $"{_clock.GetElapsedTime(_start).TotalSeconds:F0} s");
        return string.Join(", ", new[] { $"{done}/{_total} {_what}", elapsed, Left(done), note }.Where(part => part.Length > 0));
    }

    /// <summary>
    /// By the pace since the first report, so that neither what an earlier call did nor the time to get going counts; empty at the end and
    /// while there is too little to judge by.
    /// </summary>
    private string Left(int done)
    {
        if (_first is not { } first || done <= first.Done || done >= _total || _clock.GetElapsedTime(first.Time) is var sample && sample < s_shortestSample)
        {
            return "";
        }

        double seconds = sample.TotalSeconds * (_total - done) / (done - first.Done);
        string left = seconds switch
        {
            < 57.5 => $"{5 * Math.Max(1, Math.Round(seconds / 5)):F0} s",
            < 5400 => $"{Math.Max(1, Math.Round(seconds / 60)):F0} min",
            _ => string.Create(CultureInfo.InvariantCulture, $"{seconds / 3600:F1} h"),
        };
        return $"about {left} left";
    }
}
