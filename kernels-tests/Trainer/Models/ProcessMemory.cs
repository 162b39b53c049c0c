// SPDX-License-Identifier: Apache-2.0
using System.Globalization;

namespace HiMo.Kernels.Tests;

/// <summary>What Linux says of this process's memory, in bytes.</summary>
internal static class ProcessMemory
{
    /// <summary>In memory now.</summary>
    public static long Resident => Status("VmRSS");

    /// <summary>The most that was in memory since <see cref="ForgetPeak"/>.</summary>
    public static long Peak => Status("VmHWM");

    public static void ForgetPeak() => File.WriteAllText("/proc/self/clear_refs", "5");

    private static long Status(string field)
    {
        string line = File.ReadLines("/proc/self/status").First(line => line.StartsWith(field, StringComparison.Ordinal));
        return 1024 * long.Parse(line.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture);
    }
}
