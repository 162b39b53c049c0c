// SPDX-License-Identifier: Apache-2.0
using System.Diagnostics;

namespace HiMo.Trainer;

/// <summary>
/// How far a long job is: a bar that is redrawn on a terminal, and a plain line at every tenth in a file. Reports may come from several
/// threads.
/// </summary>
internal sealed class Progress : IDisposable
{
    private const int Width = 30;
    private const int RedrawMilliseconds = 100;

    private readonly string _what;
    private readonly int _total;
    private readonly TextWriter _output;
    private readonly bool _terminal;
    private readonly Lock _lock = new();
    private readonly long _start = Stopwatch.GetTimestamp();
    private long _drawn;
    private int _tenths;
    private bool _open;

    /// <summary>Starts the clock; nothing is shown until the first report.</summary>
    /// <param name="what">The unit, for example "steps".</param>
    /// <param name="total">Number of units at the end.</param>
    /// <param name="output">Where to show it; only the process's error stream can be a terminal.</param>
    public Progress(string what, int total, TextWriter output)
    {
        (_what, _total, _output) = (what, total, output);
        _terminal = ReferenceEquals(output, Console.Error) && !Console.IsErrorRedirected;
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
            if (_terminal)
            {
                if (done == _total || Stopwatch.GetElapsedTime(_drawn).TotalMilliseconds >= RedrawMilliseconds)
                {
                    int filled = (int)((long)done * Width / Math.Max(1, _total));
                    _output.Write($"\r{new string('#', filled)}{new string('-', Width - filled)} {State(done, note)}\e[K");
                    _drawn = Stopwatch.GetTimestamp();
                    _open = true;
                }
            }
            else if ((long)done * 10 / Math.Max(1, _total) is long tenths && tenths > _tenths)
            {
                _tenths = (int)tenths;
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

    private string State(int done, string note) =>
        $"{done}/{_total} {_what}, {Stopwatch.GetElapsedTime(_start).TotalSeconds:F0} s{(note.Length > 0 ? ", " : "")}{note}";
}
