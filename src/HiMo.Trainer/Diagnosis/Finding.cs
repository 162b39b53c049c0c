// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>Whether a part of the machine can be used.</summary>
internal enum FindingStatus
{
    /// <summary>Usable.</summary>
    Works,

    /// <summary>Not there, and nothing essential needs it.</summary>
    Absent,

    /// <summary>Something essential fails until the remedy is applied.</summary>
    Problem,
}

/// <summary>What one check found.</summary>
/// <param name="Name">The part, for example <c>libtorch</c>.</param>
/// <param name="Status">Whether it can be used.</param>
/// <param name="Text">What it is, or what is wrong with it.</param>
/// <param name="Remedy">What to do about it; null where it works.</param>
internal sealed record Finding(string Name, FindingStatus Status, string Text, string? Remedy = null)
{
    public static Finding Works(string name, string text) => new(name, FindingStatus.Works, text);

    public static Finding Absent(string name, string text, string remedy) => new(name, FindingStatus.Absent, text, remedy);

    public static Finding Problem(string name, string text, string remedy) => new(name, FindingStatus.Problem, text, remedy);
}
