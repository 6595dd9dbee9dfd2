/* cli/cmd_completion.c - completion for bash, from the list of commands. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static const char head[] =
	"# bash completion of dormousectl\n"
	"_dormousectl() {\n"
	"\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} cmd= i=1\n"
	"\tCOMPREPLY=()\n"
	"\twhile [ $i -lt $COMP_CWORD ]; do\n"
	"\t\tcase ${COMP_WORDS[i]} in\n"
	"\t\t-s|--api|--token-file|--ca-file|--timeout|--color) i=$((i+1));;\n"
	"\t\t-*) ;;\n"
	"\t\t*) cmd=${COMP_WORDS[i]}; break;;\n"
	"\t\tesac\n"
	"\t\ti=$((i+1))\n"
	"\tdone\n"
	"\tcase $prev in\n"
	"\t-s|--api|--token-file|--ca-file|--anchors|--crl|--ocsp|--device|--payload|--key|--chain|--image|--public|-o|--output|--psk-file|--mac-key-file)\n"
	"\t\tcompopt -o default; return;;\n"
	"\tesac\n"
	"\tcase $cmd in\n";

int cmd_completion(const struct cli *cli, int argc, char **argv)
{
	if (argc != 2 || strcmp(argv[1], "bash") != 0)
		return cli_usage("completion");
	fputs(head, stdout);
	for (const struct cli_command *c = cli_commands; c->name; c++)
		printf("\t%s) COMPREPLY=($(compgen -W '%s --json --help' -- \"$cur\"));;\n", c->name, c->words);
	fputs("\t'') COMPREPLY=($(compgen -W '", stdout);
	for (const struct cli_command *c = cli_commands; c->name; c++)
		printf("%s ", c->name);
	puts("-s --api --token-file --ca-file --timeout --json --color --help --version' -- \"$cur\"));;\n\tesac\n"
	     "\t[ ${#COMPREPLY[@]} -gt 0 ] || compopt -o default\n}\ncomplete -F _dormousectl dormousectl");
	return CLI_OK;
}
