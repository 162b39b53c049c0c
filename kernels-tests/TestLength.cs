// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Kernels.Tests;

/// <summary>Long checks (fuzzing, leaks, kills, stress) run in a short form unless HIMO_TEST_LONG=1, which <c>./test --long</c> sets.</summary>
internal static class TestLength
{
    public static bool IsLong { get; } = Environment.GetEnvironmentVariable("HIMO_TEST_LONG") == "1";

    public static int Pick(int shortCount, int longCount) => IsLong ? longCount : shortCount;
}
