// SPDX-License-Identifier: Apache-2.0
using FsCheck;
using FsCheck.Fluent;

namespace HiMo.Kernels.Tests;

/// <summary>
/// Properties on generated cases: the short form draws the same cases on every machine and in every run, so that a failure is the change's fault;
/// the long form draws new ones. A failure names the case and the seed it was drawn with.
/// </summary>
internal static class GeneratedCases
{
    private static readonly Replay s_replay = new(new Rnd(2026), null);

    public static void Check<T>(Gen<T> cases, int shortCount, int longCount, Action<T> property)
    {
        Config config = Config.QuickThrowOnFailure.WithMaxTest(TestLength.Pick(shortCount, longCount));
        FsCheck.Check.One(TestLength.IsLong ? config : config.WithReplay(s_replay), Prop.ForAll(cases.ToArbitrary(), property));
    }
}
