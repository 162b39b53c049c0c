// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using System.Reflection;
using System.Text;
using System.Text.Json.Serialization;

namespace HiMo.Trainer;

/// <summary>A switch that is spelled out; <c>Option&lt;bool&gt;</c> would take only true and false.</summary>
internal enum OnOff
{
    /// <summary>Not.</summary>
    Off,

    /// <summary>Yes.</summary>
    On,
}

/// <summary>Options with a fixed set of values.</summary>
internal static class ChoiceOption
{
    /// <summary>An option whose values are the members of an enum in kebab case, for example <c>text-and-image</c>.</summary>
    /// <param name="name">Its name, with the dashes.</param>
    /// <param name="standard">The value where it is not given.</param>
    /// <param name="description">One sentence for help.</param>
    public static Option<T> Create<T>(string name, T standard, string description)
        where T : struct, Enum
    {
        Dictionary<string, T> values = Enum.GetValues<T>().ToDictionary(NameOf);
        string among = string.Join('|', values.Keys);
        return new Option<T>(name)
        {
            Description = $"{description} [{NameOf(standard)}]",
            HelpName = among,
            DefaultValueFactory = _ => standard,
            CustomParser = result =>
            {
                string typed = result.Tokens[0].Value;
                if (!values.TryGetValue(typed, out T value))
                {
                    result.AddError($"{name} must be one of {among}, not '{typed}'");
                }

                return value;
            },
        };
    }

    /// <summary>The name that a member's attribute gives it, else the kebab case of its own.</summary>
    private static string NameOf<T>(T value)
        where T : struct, Enum =>
        typeof(T).GetField(value.ToString())?.GetCustomAttribute<JsonStringEnumMemberNameAttribute>()?.Name ?? Kebab(value.ToString());

    /// <summary>A member's name as options spell it, for example <c>text-and-image</c>.</summary>
    /// <param name="name">The name in the source, for example <c>TextAndImage</c>.</param>
    public static string Kebab(string name)
    {
        StringBuilder text = new();
        foreach (char letter in name)
        {
            if (char.IsUpper(letter) && text.Length > 0)
            {
                text.Append('-');
            }

            text.Append(char.ToLowerInvariant(letter));
        }

        return text.ToString();
    }
}
