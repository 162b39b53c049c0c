// SPDX-License-Identifier: Apache-2.0
using System.Diagnostics;

namespace HiMo.Trainer;

/// <summary>Milliseconds of one contestant.</summary>
/// <param name="Minimum">The least disturbed run.</param>
/// <param name="Median">The middle run.</param>
internal readonly record struct Timing(double Minimum, double Median);

/// <summary>
/// Times contestants in turn, so that a busy host slows them all alike. Before each turn the other's waiting threads get the time to fall
/// asleep (OpenMP's spin for some milliseconds after a product, on the very core that the next contestant wants), and an untimed run wakes one's own.
/// </summary>
internal static class InterleavedTiming
{
    private const int Pause = 8;                          // milliseconds

    /// <summary>One warm-up each, then rounds of one run each until the time is up, but at least <paramref name="minimumRounds"/>.</summary>
    public static Timing[] Run(double seconds, int minimumRounds, CancellationToken cancel, params Action[] contestants)
    {
        List<double>[] samples = [.. contestants.Select(_ => new List<double>())];
        foreach (Action contestant in contestants)
        {
            contestant();
        }

        long start = Stopwatch.GetTimestamp();
        while (samples[0].Count < minimumRounds || Stopwatch.GetElapsedTime(start).TotalSeconds < seconds)
        {
            cancel.ThrowIfCancellationRequested();
            for (int i = 0; i < contestants.Length; i++)
            {
                Thread.Sleep(Pause);
                contestants[i]();
                long begin = Stopwatch.GetTimestamp();
                contestants[i]();
                samples[i].Add(Stopwatch.GetElapsedTime(begin).TotalMilliseconds);
            }
        }

        return [.. samples.Select(s => new Timing(s.Min(), s.Order().ElementAt(s.Count / 2)))];
    }
}
