// SPDX-License-Identifier: Apache-2.0
using System.Reflection;
using System.Text;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>The public surface of the libraries equals the checked-in PublicApi.txt, so that a change to it is a reviewed change.</summary>
internal sealed class PublicApiTests
{
    private const string Update = "HIMO_UPDATE_PUBLIC_API";
    private const BindingFlags Declared = BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly;

    [Test]
    public void Public_surface_is_the_reviewed_one()
    {
        string path = Path.Combine(TestData.RepositoryRoot, "kernels-tests", "PublicApi.txt");
        string actual = Describe(Assembly.Load("HiMo.Kernels")) + Describe(Assembly.Load("HiMo.Interop")) + Describe(Assembly.Load("HiMo.Trainer"));
        if (Environment.GetEnvironmentVariable(Update) == "1")
        {
            File.WriteAllText(path, actual);
        }

        Assert.That(
            actual.Split('\n'),
            Is.EqualTo(File.ReadAllText(path).Split('\n')),
            $"The public API changed. If that is meant, run this test once with {Update}=1, review the difference of kernels-tests/PublicApi.txt, and commit it.");
    }

    private static string Describe(Assembly assembly)
    {
        StringBuilder text = new();
        foreach (Type type in assembly.GetExportedTypes().OrderBy(type => type.FullName, StringComparer.Ordinal))
        {
            text.Append(Kind(type)).Append(' ').Append(type.FullName).Append(Bases(type)).Append('\n');
            foreach (string member in type.GetMembers(Declared).Where(IsVisible).Select(Signature).Order(StringComparer.Ordinal))
            {
                text.Append("    ").Append(member).Append('\n');
            }
        }

        return text.ToString();
    }

    private static string Kind(Type type) =>
        (type.IsAbstract, type.IsSealed, type.IsEnum, type.IsValueType, type.IsInterface) switch
        {
            (_, _, true, _, _) => "enum",
            (_, _, _, true, _) => type.IsByRefLike ? "ref struct" : "struct",
            (_, _, _, _, true) => "interface",
            (true, true, _, _, _) => "static class",
            (false, true, _, _, _) => "sealed class",
            (true, false, _, _, _) => "abstract class",
            _ => "class",
        };

    private static string Bases(Type type)
    {
        if (type.IsEnum || type.IsInterface)
        {
            return "";
        }

        IEnumerable<string> bases = type.GetInterfaces().Where(each => each.IsPublic).Select(Name).Order(StringComparer.Ordinal);
        if (type.BaseType is not null && type.BaseType != typeof(object) && type.BaseType != typeof(ValueType))
        {
            bases = bases.Prepend(Name(type.BaseType));
        }

        string joined = string.Join(", ", bases);
        return joined.Length == 0 ? "" : " : " + joined;
    }

    // Accessors are shown by their property or event; what the compiler makes for records is left out.
    private static bool IsVisible(MemberInfo member) => !member.Name.Contains('<') && member switch
    {
        MethodInfo { IsSpecialName: true } method => method.Name.StartsWith("op_", StringComparison.Ordinal) && method.IsPublic && !IsGenerated(method),
        MethodBase method => IsOpen(method) && !IsGenerated(method),
        FieldInfo field => (field.IsPublic || field.IsFamily) && !field.IsSpecialName,
        PropertyInfo property => property.GetAccessors(nonPublic: true).Any(IsOpen) && property.Name != "EqualityContract",
        EventInfo each => each.AddMethod!.IsPublic,
        Type => false, // listed by itself
        _ => false,
    };

    private static bool IsOpen(MethodBase method) => method.IsPublic || method.IsFamily || method.IsFamilyOrAssembly;

    private static bool IsGenerated(MethodBase method) => method.IsDefined(typeof(System.Runtime.CompilerServices.CompilerGeneratedAttribute));

    private static string Signature(MemberInfo member) => member switch
    {
        ConstructorInfo constructor => $"{Access(constructor)}.ctor({Parameters(constructor)})",
        MethodInfo method => $"{Access(method)}{Name(method.ReturnType)} {method.Name}{Arguments(method)}({Parameters(method)})",
        PropertyInfo property => Property(property),
        FieldInfo { IsLiteral: true } field => $"{field.Name} = {Convert.ToString(field.GetRawConstantValue(), System.Globalization.CultureInfo.InvariantCulture)}",
        FieldInfo field => $"{(field.IsStatic ? "static " : "")}{Name(field.FieldType)} {field.Name}",
        EventInfo each => $"event {Name(each.EventHandlerType!)} {each.Name}",
        _ => member.ToString()!,
    };

    private static string Property(PropertyInfo property)
    {
        MethodInfo first = property.GetAccessors(nonPublic: true)[0];
        string required = property.IsDefined(typeof(System.Runtime.CompilerServices.RequiredMemberAttribute)) ? "required " : "";
        string get = property.GetMethod is not null && IsOpen(property.GetMethod) ? "get; " : "";
        string set = property.SetMethod is not null && IsOpen(property.SetMethod)
            ? property.SetMethod.ReturnParameter.GetRequiredCustomModifiers().Length > 0 ? "init; " : "set; "
            : "";
        string index = property.GetIndexParameters().Length > 0 ? "[" + string.Join(", ", property.GetIndexParameters().Select(Parameter)) + "]" : "";
        return $"{Access(first)}{required}{Name(property.PropertyType)} {property.Name}{index} {{ {get}{set}}}";
    }

    private static string Access(MethodBase method) =>
        (method.IsPublic ? "" : "protected ") + (method.IsStatic ? "static " : method.IsVirtual && !method.IsFinal && !method.DeclaringType!.IsSealed ? "virtual " : "");

    private static string Parameters(MethodBase method) => string.Join(", ", method.GetParameters().Select(Parameter));

    private static string Parameter(ParameterInfo parameter) =>
        $"{Name(parameter.ParameterType)} {parameter.Name}"
        + (parameter.HasDefaultValue
            ? " = " + (parameter.RawDefaultValue is null ? "default" : Convert.ToString(parameter.RawDefaultValue, System.Globalization.CultureInfo.InvariantCulture))
            : "");

    private static string Arguments(MethodInfo method) =>
        method.IsGenericMethod ? "<" + string.Join(", ", method.GetGenericArguments().Select(Name)) + ">" : "";

    private static string Name(Type type)
    {
        if (type.IsByRef)
        {
            return "ref " + Name(type.GetElementType()!);
        }

        if (type.IsArray)
        {
            return Name(type.GetElementType()!) + "[]";
        }

        string name = type.IsNested && !type.IsGenericParameter ? $"{Name(type.DeclaringType!)}.{type.Name}" : type.Name;
        return type.IsGenericType ? name.Split('`')[0] + "<" + string.Join(", ", type.GetGenericArguments().Select(Name)) + ">" : name;
    }
}
