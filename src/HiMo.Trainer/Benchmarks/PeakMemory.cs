// SPDX-License-Identifier: Apache-2.0
using System.Diagnostics;
using System.Globalization;

namespace HiMo.Trainer;

/// <summary>The most memory that this process has had in RAM.</summary>
internal static class PeakMemory
{
    private const string Status = "/proc/self/status";

    /// <summary>Forgets earlier peaks where the system can (Linux); returns the bytes from which the next peak counts.</summary>
    public static double Restart()
    {
        if (OperatingSystem.IsLinux())
        {
            File.WriteAllText("/proc/self/clear_refs", "5");
        }

        return Read();
    }

    /// <summary>Bytes.</summary>
    public static double Read()
    {
        if (OperatingSystem.IsLinux())
        {
            string line = File.ReadLines(Status).First(each => each.StartsWith("VmHWM:", StringComparison.Ordinal));
            return 1024.0 * long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture);
        }

        using Process process = Process.GetCurrentProcess();
        return process.PeakWorkingSet64;
    }
}
