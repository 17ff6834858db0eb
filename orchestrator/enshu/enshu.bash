# Completion of enshu for bash. Everything comes from the program's own tables:
# `enshu help commands` and `enshu help options`.
_enshu_values() # WORD PLACEHOLDER
{
    case $2 in
    *'|'*) COMPREPLY=($(compgen -W "${2//|/ }" -- "$1")) ;;
    PATH | FILE | DIR) COMPREPLY=($(compgen -f -- "$1")) ;;
    esac
}

_enshu()
{
    local word=${COMP_WORDS[COMP_CWORD]} last=${COMP_WORDS[COMP_CWORD - 1]}
    local command= args= options= rest name arg i
    local -A takes known
    COMPREPLY=()
    while IFS=$'\t' read -r name arg; do takes[--$name]=$arg; done < <(enshu help options 2>/dev/null)
    while IFS=$'\t' read -r name args options; do known[$name]="$args"$'\t'"$options"; done < <(enshu help commands 2>/dev/null)
    for ((i = 1; i < COMP_CWORD; i++)); do
        rest=${COMP_WORDS[i]}
        if [[ $rest == -- ]]; then
            COMPREPLY=($(compgen -f -- "$word"))
            return
        elif [[ $rest == -* ]]; then
            [[ -n ${takes[$rest]} ]] && ((i++))
        elif [[ -z $command ]]; then
            command=$rest
        elif [[ -n ${known[$command $rest]} ]]; then
            command="$command $rest"
        fi
    done
    IFS=$'\t' read -r args options <<<"${known[${command:-none}]}"
    if [[ -n ${takes[$last]} ]]; then
        _enshu_values "$word" "${takes[$last]}"
    elif [[ -z $command || $command == help ]]; then
        COMPREPLY=($(compgen -W "$(printf '%s\n' "${!known[@]}" | cut -d' ' -f1 | sort -u)" -- "$word"))
    elif [[ $word == -* ]]; then
        COMPREPLY=($(compgen -W "${options:+--${options// / --}}" -- "$word"))
    else
        rest=$(printf '%s\n' "${!known[@]}" | sed -n "s/^$command //p")
        COMPREPLY=($(compgen -W "$rest" -- "$word"))
        [[ $args == *FILE* ]] && COMPREPLY+=($(compgen -f -- "$word"))
    fi
    return 0
}
complete -o filenames -F _enshu enshu
