// SPDX-License-Identifier: Apache-2.0
using System.Globalization;

namespace HiMo.Trainer;

/// <summary>The report's table as text: one block for each base, every measure, whichever loss is ahead.</summary>
internal static class DemoTable
{
    /// <summary>Writes the blocks.</summary>
    /// <param name="runs">Run folders.</param>
    /// <param name="output">Receives the text.</param>
    public static void Write(IReadOnlyList<string> runs, TextWriter output)
    {
        foreach (IGrouping<string, RunGroup> sameBase in RunGroup.From([.. runs.Select(RunFolder.Read)]).GroupBy(group => group.Base))
        {
            RunGroup[] groups = [.. sameBase];
            string[] labels = [.. groups.Select(group => group.Runs.Count > 1 ? $"{group.Label}, {group.Runs.Count} seeds" : group.Label)];
            int[] widths = [.. labels.Select(label => Math.Max(label.Length, 14))];
            output.WriteLine();
            output.WriteLine($"{sameBase.Key,-44}{string.Concat(labels.Select((label, i) => "  " + label.PadLeft(widths[i])))}");
            foreach (IGrouping<string, ResultTable.Row> section in ResultTable.Rows.GroupBy(row => row.Section))
            {
                output.WriteLine($"  {section.Key}");
                foreach (ResultTable.Row row in section)
                {
                    IEnumerable<string> cells = groups.Select((group, i) => "  " + Cell(group.Measure(row.Measure), row).PadLeft(widths[i]));
                    output.WriteLine($"    {row.Name,-40}{string.Concat(cells)}{Verdict(groups, row)}");
                }
            }
        }
    }

    private static string Cell(Spread? spread, ResultTable.Row row) => spread is not { } value ? "-"
        : value.Count > 1 ? $"{Number(value.Mean, row)} +- {Number(value.Deviation, row)}"
        : Number(value.Mean, row);

    private static string Number(double value, ResultTable.Row row) => (row.Scale * value).ToString(row.Format, CultureInfo.InvariantCulture);

    /// <summary>Who is ahead, where the difference exceeds both spreads together; nothing where the direction means nothing.</summary>
    private static string Verdict(RunGroup[] groups, ResultTable.Row row)
    {
        RunGroup[] plain = [.. groups.Where(group => group.Loss == "plain")], himo = [.. groups.Where(group => group.Loss == "himo")];
        if (!row.MoreIsBetter || plain.Length != 1 || himo.Length != 1
            || plain[0].Measure(row.Measure) is not { } before || himo[0].Measure(row.Measure) is not { } after)
        {
            return "";
        }

        return !after.IsClearOf(before) ? "  even" : after.Mean > before.Mean ? "  HiMo ahead" : "  HiMo behind";
    }
}
